"""Layers that long-tail heads use. Needs torch only."""

from lt_det.layers.cosine import CosineClassifier
from lt_det.layers.scaled import ScaledLinear

__all__ = ["CosineClassifier", "ScaledLinear"]
