"""Predict with a trained model, draw its detections, adjust its classifier, and export it.

Names are imported on first use: a detector needs neither the export nor the search for an adjustment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
from lt_det.lazy_imports import lazy_exports

if TYPE_CHECKING:
    from lt_det.inference.adjustment_search import search_adjustment
    from lt_det.inference.detector import TrainedDetector, load_trained_config
    from lt_det.inference.media import read_image

__all__ = ["TrainedDetector", "load_trained_config", "read_image", "search_adjustment"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "TrainedDetector": "lt_det.inference.detector",
        "load_trained_config": "lt_det.inference.detector",
        "read_image": "lt_det.inference.media",
        "search_adjustment": "lt_det.inference.adjustment_search",
    },
)
