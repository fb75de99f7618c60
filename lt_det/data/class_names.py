"""Names of the classes that a config trains and evaluates, found without loading records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.data.class_counts import annotation_file, training_stats
from lt_det.data.formats import annotations_of
from lt_det.errors import LtDetError


def class_names(cfg: Any) -> tuple[str, ...]:
    """Names of the classes of a yaml config, by class; empty if they are not known."""
    return class_names_of(
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=cfg.OUTPUT_DIR
    )


def class_names_of(
    training_sets: Sequence[str], test_sets: Sequence[str], *, class_stats: str = "", cache_dir: str = ""
) -> tuple[str, ...]:
    """Names of the classes, by class; empty if they are not known.

    Those of the training sets, with which the evaluator compares a test set; on a machine without the training sets,
    those of the first test set.

    Args:
        training_sets, test_sets: registered names.
        class_stats, cache_dir: see `training_stats`.
    """
    try:
        return tuple(map(str, training_stats(training_sets, class_stats=class_stats, cache_dir=cache_dir).names))
    except LtDetError:  # whoever needs the counts reports it
        pass
    try:
        return next(filter(None, map(dataset_class_names, test_sets)), ())
    except LtDetError:  # as above
        return ()


def dataset_class_names(dataset: str) -> tuple[str, ...]:
    """Class names of a registered dataset, from its metadata or its json; empty if neither exists.

    Raises:
        LtDetError: see `annotations_of`.
    """
    if dataset not in DatasetCatalog:
        return ()
    names = MetadataCatalog.get(dataset).get("thing_classes")
    json_file = annotation_file(dataset)
    if names is None and json_file is not None and json_file.exists():
        categories = annotations_of(dataset)["categories"]
        names = [category["name"] for category in sorted(categories, key=lambda category: category["id"])]
    return tuple(map(str, names or ()))
