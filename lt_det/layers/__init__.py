"""Classifier layers for long-tail heads. The package needs torch only."""

from lt_det.layers.cosine import CosineClassifier
from lt_det.layers.scaled import ScaledLinear

__all__ = ["CosineClassifier", "ScaledLinear"]
