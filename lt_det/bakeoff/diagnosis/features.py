"""The features that a diagnosis measures: those of a bake-off, or of a sample of a large training set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lt_det.bakeoff.cache.cache import FeatureCache, read_about
from lt_det.bakeoff.features.extraction import compute_features
from lt_det.bakeoff.features.images import training_records
from lt_det.bakeoff.features.options import MAX_TRAINING_IMAGES
from lt_det.bakeoff.options import FEATURES, option
from lt_det.errors import LtDetError
from lt_det.evaluation.progress import Track
from lt_det.terminal import count_of
from lt_det.training.preflight import check_datasets


def open_features(
    cfg: Any,
    folder: str | Path | None = None,
    test: str | None = None,
    track: Track = iter,
    max_training_images: int | None = None,
) -> FeatureCache:
    """The feature cache in a folder, which is computed or finished first if necessary.

    A cache that is there is used with the options that it was computed with, if it is that of the same detector and
    data. A training set with more than `max_training_images` images is sampled, see `sample_images`; a bake-off cannot
    use such a cache.

    Args:
        cfg: of the detector; its datasets are registered.
        folder: of the cache; None: ``bakeoff/features`` in OUTPUT_DIR, or ``diagnosis/features`` if the training set
            is sampled.
        test: a test set whose proposals have to be in it, besides those of DATASETS.
        track: wraps the loop over the images, to show progress.
        max_training_images: the most training images whose RoIs are sampled. None: `MAX_TRAINING_IMAGES`, or as many as
            there are in the cache.

    Raises:
        LtDetError: the cache that is there lacks `test`, or has another number of training images than the one that is
            asked for; see also `compute_features`.
    """
    if max_training_images is not None and max_training_images < 1:
        raise LtDetError(f"{option('max_training_images')} is {max_training_images}; write a whole number from 1 on.")
    of_bakeoff = Path(cfg.OUTPUT_DIR, "bakeoff", FEATURES)
    if folder is None and max_training_images is None and _is_finished(of_bakeoff):
        folder = of_bakeoff
    about = None if folder is None else read_about(Path(folder))
    limit: int | None = None
    if about is None or max_training_images is not None:
        limit = _limit(cfg, max_training_images or MAX_TRAINING_IMAGES)
    if folder is None:
        folder = of_bakeoff if limit is None else Path(cfg.OUTPUT_DIR, "diagnosis", FEATURES)
        about = read_about(folder)
    if about is None:
        training = cfg.DATASETS.TRAIN if limit is None else ()  # a bake-off needs their proposals
        wanted = [*cfg.DATASETS.TEST, *training, *([] if test is None else [test])]
        return compute_features(cfg, folder, datasets=list(dict.fromkeys(wanted)), max_roi_images=limit, track=track)
    known = {**about["key"]["options"], "datasets": about["key"]["datasets"]}
    found = known.get("max_roi_images")
    if max_training_images is not None and found != limit:
        has = "all training images" if found is None else count_of(found, "training image")
        raise LtDetError(
            f"The feature cache {folder} has RoIs of {has}, and {option('max_training_images')} is "
            f"{max_training_images}; leave that out to use the cache, or choose another folder for the features."
        )
    if test is not None and test not in known["datasets"]:
        raise LtDetError(
            f"The feature cache {folder} has no proposals of '{test}', but of {', '.join(known['datasets'])}; name "
            "one of these, or choose another folder for the features."
        )
    return compute_features(cfg, folder, **known, track=track)


def _is_finished(folder: Path) -> bool:
    about = read_about(folder)
    return about is not None and bool(about["finished"])


def _limit(cfg: Any, number: int) -> int | None:
    """None: there are no more training images than that."""
    check_datasets(cfg.DATASETS.TRAIN)
    return number if number < len(training_records(cfg)) else None
