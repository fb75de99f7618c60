"""lt_det: long-tailed object detection for Detectron2.

Importing this registers the ROI heads and the generated data set with Detectron2, if Detectron2 is there. Without it
the losses (`lt_det.losses`) and the class statistics (`lt_det.class_stats`) work alone.
"""

import warnings
from importlib.util import find_spec

from lt_det.class_stats import ClassStats, FrequencyBuckets
from lt_det.errors import LtDetError

__version__ = "0.1.0.dev0"

__all__ = ["ClassStats", "FrequencyBuckets", "LtDetError", "__version__"]

if find_spec("detectron2") is not None:
    with warnings.catch_warnings():
        # Detectron2's use of torch.jit.script: nothing a user could do about, on every command.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
        from lt_det.config import add_lt_config
        from lt_det.data import register_builtin, register_dataset
        from lt_det.modeling import (
            LongTailCascadeROIHeads,
            LongTailPredictor,
            LongTailRes5ROIHeads,
            LongTailROIHeads,
        )

    register_builtin()

    __all__ += [
        "LongTailCascadeROIHeads",
        "LongTailPredictor",
        "LongTailROIHeads",
        "LongTailRes5ROIHeads",
        "add_lt_config",
        "register_dataset",
    ]
