"""Metrics over matched detections: AP, AP-Pool, intervals, errors, calibration."""
