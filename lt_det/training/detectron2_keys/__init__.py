"""Detectron2's config keys that need code of lt_det: its own training tool applies them, its library does not."""
