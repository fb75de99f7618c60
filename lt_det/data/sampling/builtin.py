"""lt_det's samplers, built from a config; importing this registers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Sampler

from lt_det.config import buckets_of_config
from lt_det.data.class_counts import training_stats
from lt_det.data.sampling.class_aware import class_aware_sampler
from lt_det.data.sampling.registry import register_sampler
from lt_det.data.sampling.repeat_factors import repeat_factor_sampler
from lt_det.statistics.buckets import FrequencyBuckets


def training_buckets(cfg: Any) -> FrequencyBuckets:
    """The frequency buckets of a config's training classes.

    Raises:
        LtDetError: see `training_stats` and `buckets_of_config`.
    """
    stats = training_stats(cfg.DATASETS.TRAIN, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=cfg.OUTPUT_DIR)
    return buckets_of_config(cfg, stats)


@register_sampler("RepeatFactorTrainingSampler")
def repeat_factor(cfg: Any, dataset_dicts: Sequence[Mapping[str, Any]], seed: int | None) -> Sampler[int]:
    """Detectron2's sampler of this name, with a log entry by bucket."""
    return repeat_factor_sampler(
        dataset_dicts,
        cfg.DATALOADER.REPEAT_THRESHOLD,
        training_buckets(cfg),
        sqrt=cfg.DATALOADER.get("REPEAT_SQRT", True),  # a key of Detectron2's main branch
        seed=seed,
    )


@register_sampler("ClassAwareTrainingSampler")
def class_aware(cfg: Any, dataset_dicts: Sequence[Mapping[str, Any]], seed: int | None) -> Sampler[int]:
    """`ClassAwareTrainingSampler`, with a log entry by bucket."""
    return class_aware_sampler(dataset_dicts, training_buckets(cfg), seed=seed)
