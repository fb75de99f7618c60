"""Datasets: registration, annotation formats, class counts, samplers. Importing this registers mini_lvis."""

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
from lt_det.compat.detectron2 import read_16_bit_images
from lt_det.data.cache.records import load_records
from lt_det.data.class_counts import training_stats, training_stats_or_none
from lt_det.data.formats import register_format
from lt_det.data.registration import register_builtin, register_dataset, register_from_config
from lt_det.data.sampling.registry import register_sampler

__all__ = [
    "load_records",
    "register_builtin",
    "register_dataset",
    "register_format",
    "register_from_config",
    "register_sampler",
    "training_stats",
    "training_stats_or_none",
]

register_builtin()
read_16_bit_images()  # here, because a loading process that starts afresh imports this package only
