"""Readers of ground truth and detections, and the writer of results."""
