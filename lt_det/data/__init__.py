"""Data sets: registration, class counts, and (in `mini_lvis`) the generated set, which importing this registers."""

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
from lt_det.data.cache.records import load_records
from lt_det.data.class_counts import training_stats, training_stats_or_none
from lt_det.data.registration import register_builtin, register_dataset, register_from_config

__all__ = [
    "load_records",
    "register_builtin",
    "register_dataset",
    "register_from_config",
    "training_stats",
    "training_stats_or_none",
]

register_builtin()
