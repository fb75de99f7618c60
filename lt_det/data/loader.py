"""The training loader that a config asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from torch.utils.data import Sampler

from lt_det.compat.detectron2 import image_source, unmapped
from lt_det.config import resampling_start
from lt_det.data.cache.records import Records, load_records
from lt_det.data.class_counts import training_stats
from lt_det.data.image_errors import NameUnreadable
from lt_det.data.keypoints import prepare_keypoints
from lt_det.data.registration import uses_stock_heads
from lt_det.data.sampling.bucket_fractions import log_instances
from lt_det.data.sampling.builtin import training_buckets
from lt_det.data.sampling.registry import SAMPLERS
from lt_det.data.sampling.samplers import DeferredSampler, ShapeSampler
from lt_det.errors import LtDetError
from lt_det.trainer_keys import PRECISION, TrainerKeys
from lt_det.unused_loss import unused_loss

logger = logging.getLogger(__name__)

Mapper = Callable[[dict[str, Any]], Any]


def build_train_loader(cfg: Any, mapper: Mapper | None = None, *, in_equipped_trainer: bool = False) -> Any:
    """Detectron2's training loader with lt_det's samplers, of batches for one forward pass.

    Args:
        cfg: with lt_det's keys.
        mapper: of a record to the model's input; None: Detectron2's DatasetMapper.
        in_equipped_trainer: the trainer applies all of lt_det's keys. Else the loader refuses to be iterated where the
            config has a key that neither it nor Detectron2's heads apply.

    Raises:
        LtDetError: DATALOADER.SAMPLER_TRAIN or SAMPLER_START is invalid, or masks are to be learned from a dataset
            without segmentations.
    """
    start = resampling_start(cfg)
    prepare_keypoints(cfg)
    build = SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN)
    if build is None:
        arguments = _detectron2_arguments(cfg, mapper)
        if type(arguments["dataset"]) in (list, Records):  # any other dataset would read the images
            log_instances(arguments["dataset"], training_buckets(cfg))
    else:
        # Any sampler, so that Detectron2 makes none.
        arguments = build_detection_train_loader.from_config(cfg, mapper, dataset=_records(cfg), sampler="lt_det's")
        arguments["sampler"] = build(cfg, arguments["dataset"], _seed(cfg))
    if cfg.MODEL.MASK_ON and not _has_segmentations(arguments["dataset"]):
        raise LtDetError(
            f"MODEL.MASK_ON is True, but no annotation of {', '.join(cfg.DATASETS.TRAIN)} has a segmentation to learn "
            "masks from; set MODEL.MASK_ON to False, or train on a dataset with segmentations."
        )
    if start is not None:
        arguments["sampler"] = _deferred(cfg, start, len(arguments["dataset"]), arguments["sampler"])
    arguments["mapper"] = NameUnreadable(arguments["mapper"])
    arguments["total_batch_size"] = cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATE
    loader = build_resumable_loader(**arguments)
    return loader if in_equipped_trainer or not uses_stock_heads(cfg) else _CheckedLoader(loader, cfg)


def meta_config(cfg: Any) -> Any:
    """The config of the loader of the meta set: images of SECOND_STAGE.META.DATASETS, drawn class by class.

    Raises:
        LtDetError: the meta set has other classes than the training set, or in another order.
    """
    meta = cfg.clone()
    meta.defrost()
    datasets = tuple(cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS)
    if datasets:
        check_meta_classes(cfg.DATASETS.TRAIN, datasets, cfg.OUTPUT_DIR)
        meta.DATASETS.TRAIN, meta.MODEL.LONG_TAIL.CLASS_STATS, meta.OUTPUT_DIR = datasets, "", ""
    meta.DATALOADER.SAMPLER_TRAIN, meta.DATALOADER.SAMPLER_START = "ClassAwareTrainingSampler", None
    return meta


def check_meta_classes(train: Sequence[str], meta: Sequence[str], cache_dir: str) -> None:
    """Compare the classes of the meta sets with those of the training sets.

    Args:
        train: names of the training sets.
        meta: names of the meta sets; none: nothing is compared.
        cache_dir: where the class counts of the training sets are kept.

    Raises:
        LtDetError: the meta sets have other classes, or in another order.
    """
    if not meta or list(meta) == list(train):
        return
    names = training_stats(train, cache_dir=cache_dir).names
    if (found := training_stats(meta).names) != names:
        differs = next((pair for pair in zip(found, names, strict=False) if pair[0] != pair[1]), None)
        how = f"{differs[0]} in place of {differs[1]}" if differs else f"{len(found)} instead of {len(names)}"
        raise LtDetError(
            f"The classes of SECOND_STAGE.META.DATASETS (LazyConfig: dataloader.meta) {', '.join(meta)} are not those "
            f"of the training set: {how}; give images with the same classes in the same order."
        )


def one_pass_config(cfg: Any) -> Any:
    """The config from which a user's own function builds a loader that `resample` then completes.

    It asks for the images of one forward pass (SOLVER.ACCUMULATE), and for Detectron2's plain sampler in place of one
    that Detectron2 does not know. The keypoint metadata that a DatasetMapper looks up are set.
    """
    prepare_keypoints(cfg)
    one_pass = cfg.clone()
    one_pass.defrost()
    one_pass.SOLVER.IMS_PER_BATCH = cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATE
    one_pass.SOLVER.ACCUMULATE = 1
    one_pass.DATALOADER.SAMPLER_START = None
    if _is_unknown_to_detectron2(cfg.DATALOADER.SAMPLER_TRAIN):
        one_pass.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    return one_pass


def resample(loader: Any, cfg: Any) -> Any:
    """Give a training loader of Detectron2 or lt_det, not yet iterated, the sampler that the config asks for.

    Args:
        loader: built from `one_pass_config` of `cfg`.
        cfg: with lt_det's keys.

    Raises:
        LtDetError: the loader has no sampler that could be replaced, or the function that built it chose another one.
    """
    name, start = cfg.DATALOADER.SAMPLER_TRAIN, resampling_start(cfg)
    if start is None and not _is_unknown_to_detectron2(name):
        return loader
    source: Any = image_source(loader)
    # In lt_det's own loader a ShapeSampler groups the images that the sampler to be replaced draws.
    holder = source.sampler if source is not None and isinstance(source.sampler, ShapeSampler) else source
    if holder is None or (_is_unknown_to_detectron2(name) and type(holder.sampler) is not TrainingSampler):
        found = "no sampler" if holder is None else type(holder.sampler).__name__
        raise LtDetError(
            f"DATALOADER.SAMPLER_TRAIN is {name} (SAMPLER_START {cfg.DATALOADER.SAMPLER_START}), but the "
            f"trainer's build_train_loader makes a loader with {found}; build it with Detectron2's "
            "build_detection_train_loader(cfg, mapper=...), or leave the keys out."
        )
    if _is_unknown_to_detectron2(name):
        holder.sampler = SAMPLERS[name](cfg, unmapped(source.dataset), _seed(cfg))
    if start is not None:
        holder.sampler = _deferred(cfg, start, len(source.dataset), holder.sampler)
    return loader


def build_resumable_loader(
    dataset: Any,
    *,
    sampler: Sampler[int] | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    **options: Any,
) -> Any:
    """Detectron2's `build_detection_train_loader`, with a stream of images that can be resumed exactly.

    It takes the same arguments. The difference is aspect ratio grouping: `ShapeSampler` does it where the image sizes
    are known without reading the images.
    """
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


class _CheckedLoader:
    """A loader for Detectron2's own heads, in which lt_det has no other place to look at the config."""

    def __init__(self, loader: Any, cfg: Any) -> None:
        self.dataset = loader  # the name that other wrappers of loaders use
        self.trainer_keys = TrainerKeys.from_config(cfg)
        self.trainer_keys.applied(PRECISION)  # not known here: batches are loaded outside of autocast
        self._unused_loss = "" if cfg.MODEL.LONG_TAIL.LOSS.NAME == "softmax" else unused_loss(cfg)

    def __iter__(self) -> Iterator[Any]:
        """
        Raises:
            LtDetError: a key that would do nothing.
        """
        if self._unused_loss:
            raise LtDetError(self._unused_loss)
        self.trainer_keys.check()
        return iter(self.dataset)

    def __getattr__(self, name: str) -> Any:
        """The other attributes are those of the loader inside, such as ``num_workers``."""
        if name == "dataset" or name.startswith("__"):  # a copy has no `dataset` yet when copy looks for its methods
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _deferred(cfg: Any, start: float, images: int, then: Sampler[int]) -> DeferredSampler:
    """The plain sampler up to `start`, a fraction of the training, and `then` afterwards."""
    iteration = round(start * cfg.SOLVER.MAX_ITER)
    switch_after = iteration * cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    logger.info("%s takes over from the plain sampler at iteration %d.", cfg.DATALOADER.SAMPLER_TRAIN, iteration)
    return DeferredSampler(TrainingSampler(images), then, switch_after)


def _seed(cfg: Any) -> int | None:
    return cfg.SEED if cfg.SEED >= 0 else None


def _is_unknown_to_detectron2(name: str) -> bool:
    return name in SAMPLERS and name != "RepeatFactorTrainingSampler"


def _wide(dataset: Any) -> Sequence[bool] | None:
    """Whether each image is wider than high; None where the dataset does not say."""
    if isinstance(dataset, Records):
        return dataset.wide().tolist()
    if isinstance(dataset, list) and all("width" in image for image in dataset):
        return [image["width"] > image["height"] for image in dataset]
    return None


def _has_segmentations(dataset: Any) -> bool:
    """Whether any annotation has one; True for a dataset that would have to read its images to say it."""
    if type(dataset) not in (list, Records):
        return True
    images = (dataset[index] for index in range(len(dataset)))
    return any("segmentation" in annotation for image in images for annotation in image.get("annotations", ()))


def _records(cfg: Any) -> Records | list[dict[str, Any]] | None:
    if cfg.MODEL.LOAD_PROPOSALS:
        return None  # Detectron2 adds the proposals to the records that it loads itself
    return load_records(
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0,
    )


def _detectron2_arguments(cfg: Any, mapper: Mapper | None) -> dict[str, Any]:
    try:
        return dict(build_detection_train_loader.from_config(cfg, mapper, dataset=_records(cfg)))
    except ValueError as error:
        if "Unknown training sampler" not in str(error):
            raise
        raise LtDetError(
            f"There is no sampler '{cfg.DATALOADER.SAMPLER_TRAIN}' (DATALOADER.SAMPLER_TRAIN); write TrainingSampler, "
            f"{' or '.join(SAMPLERS)}, or register yours with lt_det.data.register_sampler."
        ) from None
