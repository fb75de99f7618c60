"""The training loader that a config asks for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from torch.utils.data import Sampler

from lt_det.config import buckets_of_config, resampling_start
from lt_det.data.cache.records import Records, load_records
from lt_det.data.class_counts import training_stats
from lt_det.data.image_errors import NameUnreadable
from lt_det.data.sampling.bucket_fractions import class_aware_sampler, log_instances
from lt_det.data.sampling.repeat_factors import repeat_factor_sampler
from lt_det.data.sampling.samplers import DeferredSampler, ShapeSampler
from lt_det.errors import LtDetError
from lt_det.statistics.buckets import FrequencyBuckets

logger = logging.getLogger(__name__)


def build_train_loader(cfg: Any) -> Any:
    """Detectron2's loader, with class-aware and deferred re-sampling, of batches for one forward pass.

    Raises:
        LtDetError: DATALOADER.SAMPLER_TRAIN or SAMPLER_START is none, or masks of a set that has no outlines.
    """
    start = resampling_start(cfg)
    build = _SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN)
    if build is None:
        arguments = _detectron2_arguments(cfg)
        if type(arguments["dataset"]) in (list, Records):  # and no data set that would read the images
            log_instances(arguments["dataset"], _buckets(cfg))
    else:
        # A sampler is given so that Detectron2 makes none.
        arguments = build_detection_train_loader.from_config(cfg, dataset=_records(cfg), sampler="ours")
        arguments["sampler"] = build(cfg, arguments["dataset"], cfg.SEED if cfg.SEED >= 0 else None)
    if cfg.MODEL.MASK_ON and not _has_outlines(arguments["dataset"]):
        raise LtDetError(
            f"MODEL.MASK_ON is True, but no annotation of {', '.join(cfg.DATASETS.TRAIN)} has an outline to learn "
            "masks from ('segmentation'); set MODEL.MASK_ON to False, or train on a set with outlines."
        )
    if start is not None:
        iteration = round(start * cfg.SOLVER.MAX_ITER)
        images = iteration * cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
        logger.info("%s takes over from the plain sampler at iteration %d.", cfg.DATALOADER.SAMPLER_TRAIN, iteration)
        plain = TrainingSampler(len(arguments["dataset"]))
        arguments["sampler"] = DeferredSampler(plain, arguments["sampler"], images)
    arguments["mapper"] = NameUnreadable(arguments["mapper"])
    arguments["total_batch_size"] = cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATE
    return build_resumable_loader(**arguments)


def build_resumable_loader(
    dataset: Any,
    *,
    sampler: Sampler[int] | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    **options: Any,
) -> Any:
    """Detectron2's `build_detection_train_loader` with the same arguments, whose stream of images can be resumed
    exactly also with aspect ratio grouping (`ShapeSampler`), where the data set knows the shapes."""
    is_wide = _wide(dataset) if aspect_ratio_grouping else None
    if is_wide is not None:
        sampler = TrainingSampler(len(dataset)) if sampler is None else sampler
        sampler = ShapeSampler(sampler, is_wide, total_batch_size // comm.get_world_size())
        aspect_ratio_grouping = False
    return build_detection_train_loader(
        dataset,
        sampler=sampler,
        total_batch_size=total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        **options,
    )


def _wide(dataset: Any) -> Sequence[bool] | None:
    """Whether each image is wider than high; None where the data set does not say."""
    if isinstance(dataset, Records):
        return dataset.wide().tolist()
    if isinstance(dataset, list) and all("width" in image for image in dataset):
        return [image["width"] > image["height"] for image in dataset]
    return None


def _has_outlines(dataset: Any) -> bool:
    """Whether any annotation has one; True for a data set that would have to read its images to say it."""
    if type(dataset) not in (list, Records):
        return True
    images = (dataset[index] for index in range(len(dataset)))
    return any("segmentation" in annotation for image in images for annotation in image.get("annotations", ()))


def _records(cfg: Any) -> Records | list[dict[str, Any]] | None:
    if cfg.MODEL.LOAD_PROPOSALS:
        return None  # which Detectron2 writes into the records that it loads
    return load_records(
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0,
    )


def _detectron2_arguments(cfg: Any) -> dict[str, Any]:
    try:
        return dict(build_detection_train_loader.from_config(cfg, dataset=_records(cfg)))
    except ValueError as error:
        if "Unknown training sampler" not in str(error):
            raise
        raise LtDetError(
            f"There is no sampler '{cfg.DATALOADER.SAMPLER_TRAIN}' (DATALOADER.SAMPLER_TRAIN); write TrainingSampler, "
            f"{' or '.join(_SAMPLERS)}."
        ) from None


def _buckets(cfg: Any) -> FrequencyBuckets:
    stats = training_stats(cfg.DATASETS.TRAIN, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=cfg.OUTPUT_DIR)
    return buckets_of_config(cfg, stats)


def _repeat_factor(cfg: Any, dataset: list[dict[str, Any]], seed: int | None) -> Sampler[int]:
    return repeat_factor_sampler(
        dataset,
        cfg.DATALOADER.REPEAT_THRESHOLD,
        _buckets(cfg),
        sqrt=cfg.DATALOADER.get("REPEAT_SQRT", True),  # a key of Detectron2's main branch
        seed=seed,
    )


def _class_aware(cfg: Any, dataset: list[dict[str, Any]], seed: int | None) -> Sampler[int]:
    return class_aware_sampler(dataset, _buckets(cfg), seed=seed)


_SAMPLERS = {"RepeatFactorTrainingSampler": _repeat_factor, "ClassAwareTrainingSampler": _class_aware}
