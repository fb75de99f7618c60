"""Private or patched pieces of Detectron2 and torch, each with the version it was seen in."""
