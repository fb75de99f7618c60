"""Annotation formats: how the annotations of a registered dataset are read. Importing this registers "coco"."""

from lt_det.data.formats.coco import read_coco
from lt_det.data.formats.registry import FORMATS, annotations_of, read_annotations, reads_coco_json, register_format

__all__ = ["FORMATS", "annotations_of", "read_annotations", "read_coco", "reads_coco_json", "register_format"]
