"""Classifier layers of long-tail heads. Needs torch only."""

from lt_det.layers.cosine import CosineClassifier
from lt_det.layers.scaled import ScaledLinear

__all__ = ["CosineClassifier", "ScaledLinear"]
