"""COCO- and LVIS-format json, the default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lt_det.data.formats.registry import COCO, register_format
from lt_det.io.annotations.coco_json import load_annotations


@register_format(COCO)
def read_coco(path: Path) -> dict[str, Any]:
    """The content of the json; LVIS's federated lists (``neg_category_ids``, ...) are keys of its images."""
    return load_annotations(path)
