"""Data sets: registration, class counts, and (in `mini_lvis`) the generated set, which importing this registers."""

from lt_det.data.records import load_records
from lt_det.data.register import register_builtin, register_dataset, register_from_config
from lt_det.data.training_stats import training_stats, training_stats_or_none

__all__ = [
    "load_records",
    "register_builtin",
    "register_dataset",
    "register_from_config",
    "training_stats",
    "training_stats_or_none",
]

register_builtin()
