"""Annotation files in COCO and LVIS format: reading, one type per field, checks."""
