"""Files: COCO json, RLE masks, and writing that leaves no partial file."""
