"""Matching of detections with the objects of the ground truth."""
