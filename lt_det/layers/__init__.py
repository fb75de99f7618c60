"""Classifier layers of long-tail heads. Needs torch only."""

from lt_det.layers.build import build_classifier
from lt_det.layers.cosine import CosineClassifier
from lt_det.layers.scaled import ScaledLinear

__all__ = ["CosineClassifier", "ScaledLinear", "build_classifier"]
