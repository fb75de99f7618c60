"""Layers that long-tail heads use. Needs torch only."""

from lt_det.layers.cosine import CosineClassifier

__all__ = ["CosineClassifier"]
