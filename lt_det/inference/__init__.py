"""Predict with a trained model, draw what it finds, and export it."""

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
