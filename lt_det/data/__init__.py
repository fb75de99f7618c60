"""Data sets: registration, class counts, and the generated mini_lvis."""

from lt_det.data.mini_lvis import write_mini_lvis
from lt_det.data.register import register_builtin, register_dataset, register_from_config
from lt_det.data.training_stats import training_stats

__all__ = [
    "register_builtin",
    "register_dataset",
    "register_from_config",
    "training_stats",
    "write_mini_lvis",
]
