"""What results look like that are written by another convention than COCO's. Hints change no number."""
