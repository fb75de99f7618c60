"""Choose a loss: train the classifier of a frozen detector with every candidate, and evaluate each."""

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
