"""Find the class counts of registered training sets."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.lvis_v1_categories import LVIS_CATEGORIES

from lt_det.data.cache.record_cache import cached_records, follows_json
from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import LVIS_V1_ANNOTATED_IMAGES, ClassStats

logger = logging.getLogger(__name__)

CACHE_NAME = "class_stats.json"
_NOT_HERE = "not here"


def training_stats(datasets: Sequence[str], *, class_stats: str = "", cache_dir: str = "") -> ClassStats:
    """Counts of the classes of one or several training sets.

    Looked for in this order: the file `class_stats`; the cache, as long as the annotation files it was made from are
    unchanged or not on this machine; the annotation files; Detectron2's metadata for LVIS v1 (image counts only). Of a
    set that a user's own function makes, what that returns is counted, whatever json its metadata name.

    Args:
        datasets: registered names.
        class_stats: annotation json or saved counts; wins over `datasets`.
        cache_dir: folder of ``class_stats.json``, written if it exists and can be; empty: no cache.

    Raises:
        LtDetError: nothing found, with the places that were tried.
    """
    if class_stats:
        return ClassStats.from_json(class_stats)
    if not datasets:
        raise LtDetError("No training set is given; set DATASETS.TRAIN or MODEL.LONG_TAIL.CLASS_STATS.")
    json_files = [annotation_file(name) if follows_json(name) else None for name in datasets]
    names = ", ".join(datasets)
    states = [
        f"{file.stat().st_size} bytes {file.stat().st_mtime_ns}" if file and file.is_file() else _NOT_HERE
        for file in json_files
    ]
    cache = Path(cache_dir) / CACHE_NAME
    use_cache = bool(cache_dir) and None not in json_files  # a set made by a function may change unseen
    if use_cache and cache.is_file():
        try:
            cached = ClassStats.from_json(cache)
        except LtDetError as error:
            logger.warning("%s Counting anew.", error)
        else:
            counted, _, state = cached.fingerprint.partition(": ")
            pairs = itertools.zip_longest(states, state.split(", "))
            if counted == names and all(now in (then, _NOT_HERE) for now, then in pairs):
                return cached
    merged = ClassStats.merge([_count(name, file) for name, file in zip(datasets, json_files, strict=True)])
    stats = dataclasses.replace(merged, fingerprint=f"{names}: {', '.join(states)}")
    if use_cache and Path(cache_dir).is_dir():
        try:
            stats.save(cache)
        except OSError as error:
            logger.warning("Class counts are not cached: cannot write %s: %s", cache, error.strerror)
    return stats


def training_stats_or_none(datasets: Sequence[str], *, class_stats: str = "", cache_dir: str = "") -> ClassStats | None:
    """As `training_stats`, for judging on a machine without the training set: None, and a warning that says why."""
    try:
        return training_stats(datasets, class_stats=class_stats, cache_dir=cache_dir)
    except LtDetError as error:
        logger.warning("Training images per class are not known: %s", error)
        return None


def annotation_file(name: str) -> Path | None:
    """The json behind a registered data set, on disk or not; None for a set registered without one."""
    json_file = MetadataCatalog.get(name).get("json_file") if name in DatasetCatalog else None
    return Path(json_file) if json_file else None


def _count(name: str, json_file: Path | None) -> ClassStats:
    if name not in DatasetCatalog:
        raise LtDetError(f"The data set '{name}' is not registered; add it to DATASETS.REGISTER or correct its name.")
    if not follows_json(name):
        return _from_function(name)
    metadata = MetadataCatalog.get(name)
    if json_file is not None and json_file.is_file():
        cached = cached_records(name)
        stats = ClassStats.from_json(json_file) if cached is None else cached.stats
        return dataclasses.replace(stats, source=f"{name} ({json_file})")
    if metadata.get("class_image_count") is not None:
        return _from_lvis_metadata(name, metadata)
    raise LtDetError(
        f"The annotation file {json_file} of '{name}' does not exist; put it there, set DETECTRON2_DATASETS, "
        "or set MODEL.LONG_TAIL.CLASS_STATS to saved counts."
    )


def _from_lvis_metadata(name: str, metadata: Any) -> ClassStats:
    images = {entry["id"]: entry["image_count"] for entry in metadata.class_image_count}
    categories = sorted(LVIS_CATEGORIES, key=lambda category: category["id"])
    return ClassStats(
        names=tuple(category["name"] for category in categories),
        image_counts=np.asarray([images[category["id"]] for category in categories], dtype=np.int64),
        instance_counts=None,
        num_images=LVIS_V1_ANNOTATED_IMAGES,
        source=f"{name} (Detectron2's LVIS v1 metadata)",
    )


def _from_function(name: str) -> ClassStats:
    """Count what a user's own function returns: its classes may be in another order than those of a json."""
    try:
        records = DatasetCatalog.get(name)
    except Exception as error:  # a user's program can fail in any way
        raise LtDetError(
            f"The function that makes the data set '{name}' fails ({type(error).__name__}: {error}); mend it, or set "
            "MODEL.LONG_TAIL.CLASS_STATS to saved counts."
        ) from error
    names = MetadataCatalog.get(name).get("thing_classes")
    if names is None:
        raise LtDetError(f"'{name}' has no metadata thing_classes; set it with MetadataCatalog.get('{name}').set(...).")
    return ClassStats.from_annotations(
        {
            "categories": [{"id": k, "name": class_name} for k, class_name in enumerate(names)],
            "annotations": [
                {**annotation, "id": "?", "image_id": index}
                for index, record in enumerate(records)
                for annotation in record.get("annotations", ())
            ],
        },
        name,
    )
