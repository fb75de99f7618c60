"""Predict with a trained model, draw its detections, adjust its classifier, and export it."""

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
