"""lt_det: long-tailed object detection for Detectron2.

Importing this registers the ROI heads and the generated data set with Detectron2, if Detectron2 is there. Without it
the losses (`lt_det.losses`) and the class statistics (`lt_det.statistics.class_stats`) work alone.
"""

import sys
import warnings
from pathlib import PurePath
from typing import Any

from lt_det.errors import LtDetError
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

__version__ = "0.1.0.dev0"

__all__ = [
    "ClassStats",
    "FrequencyBuckets",
    "LongTailCascadeROIHeads",
    "LongTailPredictor",
    "LongTailROIHeads",
    "LongTailRes5ROIHeads",
    "LtDetError",
    "__version__",
    "add_lt_config",
    "register_dataset",
    "register_from_config",
]

try:
    # The command has subcommands that judge files; those that need Detectron2, seconds and half a gigabyte, load it.
    if PurePath(sys.argv[0]).name != "lt-det":
        with warnings.catch_warnings():
            # Detectron2's use of torch.jit.script: nothing a user could do about, on every command.
            warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
            from lt_det.config import add_lt_config
            from lt_det.data import register_dataset, register_from_config
            from lt_det.modeling import (
                LongTailCascadeROIHeads,
                LongTailPredictor,
                LongTailRes5ROIHeads,
                LongTailROIHeads,
            )
except Exception as _error:  # no torch or Detectron2, or versions that do not fit; their imports fail in any way
    _reason = str(_error)

    def __getattr__(name: str) -> Any:
        if name in __all__:
            raise ImportError(
                f"lt_det.{name} needs Detectron2, which does not import ({_reason}); run `lt-det doctor`."
            )
        raise AttributeError(f"module 'lt_det' has no attribute '{name}'")
