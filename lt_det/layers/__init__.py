"""Classifier layers for long-tail heads. The package needs torch only."""

from lt_det.layers.build import build_classifier
from lt_det.layers.cosine import CosineClassifier
from lt_det.layers.scaled import ScaledLinear

__all__ = ["CosineClassifier", "ScaledLinear", "build_classifier"]
