"""Find the class counts of registered training sets; within a process each state of a dataset is counted once."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.lvis_v1_categories import LVIS_CATEGORIES
from detectron2.structures import BoxMode

from lt_det.data.cache.record_cache import cached_records, follows_json
from lt_det.data.formats import annotations_of, reads_coco_json
from lt_det.data.missing_files import advice_for_missing_files, is_in_datasets_folder
from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import LVIS_V1_ANNOTATED_IMAGES, ClassStats

logger = logging.getLogger(__name__)

CACHE_NAME = "class_stats.json"
_NOT_HERE = "not here"

# What this process has counted. Loss, loader, evaluator and trainer all look it up.
_by_state: dict[FileState, ClassStats] = {}
_by_class_stats: dict[tuple[str, str], ClassStats] = {}  # by MODEL.LONG_TAIL.CLASS_STATS and the state of that file


def training_stats(datasets: Sequence[str], *, class_stats: str = "", cache_dir: str = "") -> ClassStats:
    """Counts of the classes of one or several training sets.

    Taken from the first of these that has them: the file `class_stats`; what this process has counted before; the
    cache, as long as the annotation files it was made from are unchanged or not on this machine; the annotation files;
    Detectron2's metadata for LVIS v1 (image counts only). For a dataset that a user's own function makes, what that
    function returns is counted, whatever json its metadata name.

    Args:
        datasets: registered names.
        class_stats: annotation json or saved counts; used instead of `datasets`.
        cache_dir: folder of ``class_stats.json``, which is written if the folder exists and can be written to; empty:
            no cache.

    Raises:
        LtDetError: no counts found; the message lists the places that were tried.
    """
    if class_stats:
        return _stats_of_file(class_stats)
    if not datasets:
        raise LtDetError("No training set is given; set DATASETS.TRAIN or MODEL.LONG_TAIL.CLASS_STATS.")
    json_files = [annotation_file(name) if follows_json(name) else None for name in datasets]
    if None in json_files:  # a dataset made by a function may change unnoticed
        return ClassStats.merge([_count(name, file) for name, file in zip(datasets, json_files, strict=True)])
    state = FileState.of(datasets)
    cache = Path(cache_dir) / CACHE_NAME if cache_dir else None
    stats = _by_state.get(state) if state.complete else None
    if stats is None and cache is not None:
        stats = _read_cache(cache, state)
    if stats is None:
        stats = _by_state.get(state)
    if stats is None:
        merged = ClassStats.merge([_count(name, file) for name, file in zip(datasets, json_files, strict=True)])
        stats = dataclasses.replace(merged, fingerprint=state.fingerprint)
    if state.complete:
        _by_state[state] = stats
    if cache is not None:
        _write_cache(cache, stats)
    return stats


def training_stats_or_none(datasets: Sequence[str], *, class_stats: str = "", cache_dir: str = "") -> ClassStats | None:
    """As `training_stats`, but None and a warning where there are no counts: evaluation works without them."""
    try:
        return training_stats(datasets, class_stats=class_stats, cache_dir=cache_dir)
    except LtDetError as error:
        logger.warning("Training images per class are not known: %s", error)
        return None


def remember_counts(datasets: Sequence[str], output_dir: str) -> None:
    """Look up the counts of a training with its OUTPUT_DIR once, so that later look-ups find them without it.

    On a machine without the annotation files that is the only way to ``OUTPUT_DIR/class_stats.json`` for the losses and
    evaluators of a LazyConfig, which know no OUTPUT_DIR. Where there are no counts it does nothing: a loss that needs
    them raises the error.

    Args:
        datasets: names of the training sets.
        output_dir: see `training_stats`.
    """
    try:
        stats = training_stats(datasets, cache_dir=output_dir)
    except LtDetError:
        return
    if all(follows_json(name) and annotation_file(name) for name in datasets):
        _by_state[FileState.of(datasets)] = stats


def annotation_file(name: str) -> Path | None:
    """The annotation file behind a registered dataset, on disk or not; None for one registered without."""
    json_file = MetadataCatalog.get(name).get("json_file") if name in DatasetCatalog else None
    return Path(json_file) if json_file else None


@dataclasses.dataclass(frozen=True)
class FileState:
    """The annotation files of datasets and the state of each, without reading them.

    Attributes:
        names: of the datasets.
        files: their annotation files.
        states: size and time of change of each file, or that it is not here.
        reusable: for each file, whether counts that another process saved hold while its state is the same. The reader
            of an annotation format of the user's own may have changed since.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    states: tuple[str, ...]
    reusable: tuple[bool, ...]

    @classmethod
    def of(cls, datasets: Sequence[str]) -> FileState:
        files = [annotation_file(name) for name in datasets]
        states = tuple(_state_of_path(file) if file else _NOT_HERE for file in files)
        return cls(tuple(datasets), tuple(map(str, files)), states, tuple(map(reads_coco_json, datasets)))

    @property
    def complete(self) -> bool:
        """Whether all the files are on this machine."""
        return _NOT_HERE not in self.states

    @property
    def fingerprint(self) -> str:
        return f"{', '.join(self.names)}: {', '.join(self.states)}"

    def matches(self, fingerprint: str) -> bool:
        """Whether saved counts are those of these files, as far as the files are on this machine."""
        counted, _, state = fingerprint.partition(": ")
        now_and_then = itertools.zip_longest(self.states, state.split(", "), self.reusable)
        return counted == ", ".join(self.names) and all(
            now == _NOT_HERE or (now == then and reusable) for now, then, reusable in now_and_then
        )


def _state_of_path(path: Path) -> str:
    """Size and time of change of a file; of a folder, those of all files in it."""
    if path.is_dir():
        files = [file.stat() for file in _files_in(path)]
        newest = max((file.st_mtime_ns for file in files), default=0)
        return f"{len(files)} files {sum(file.st_size for file in files)} bytes {newest}"
    return f"{path.stat().st_size} bytes {path.stat().st_mtime_ns}" if path.is_file() else _NOT_HERE


def _files_in(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in names)


def _stats_of_file(class_stats: str) -> ClassStats:
    """Counts that MODEL.LONG_TAIL.CLASS_STATS names."""
    key = (class_stats, _state_of_path(Path(class_stats)))
    if key not in _by_class_stats:
        _by_class_stats[key] = ClassStats.from_json(class_stats)
    return _by_class_stats[key]


def _read_cache(cache: Path, state: FileState) -> ClassStats | None:
    if not cache.is_file():
        return None
    try:
        cached = ClassStats.from_json(cache)
    except LtDetError as error:
        logger.warning("%s The classes are counted again.", error)
        return None
    return cached if state.matches(cached.fingerprint) else None


def _write_cache(cache: Path, stats: ClassStats) -> None:
    """Save the counts unless the file has them already."""
    if not cache.parent.is_dir():
        return
    try:
        saved = ClassStats.read_saved(cache)
    except LtDetError:
        saved = None
    if saved is not None and saved.fingerprint == stats.fingerprint and _same_counts(saved, stats):
        return
    try:
        stats.save(cache)
    except OSError as error:
        logger.warning("Class counts are not cached: cannot write %s: %s", cache, error.strerror)


def _same_counts(one: ClassStats, other: ClassStats) -> bool:
    pairs = ((one.image_counts, other.image_counts), (one.instance_counts, other.instance_counts))
    return all(
        first is second or (first is not None and second is not None and np.array_equal(first, second))
        for first, second in pairs
    )


def _count(name: str, json_file: Path | None) -> ClassStats:
    if name not in DatasetCatalog:
        raise LtDetError(f"The dataset '{name}' is not registered; add it to DATASETS.REGISTER or correct its name.")
    if not follows_json(name):
        return _from_function(name)
    metadata = MetadataCatalog.get(name)
    if json_file is not None and json_file.exists():
        if not reads_coco_json(name):
            return ClassStats.from_annotations(annotations_of(name), f"{name} ({json_file})")
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
        advice = "fix it, or set MODEL.LONG_TAIL.CLASS_STATS to saved counts"
        if isinstance(error, FileNotFoundError) and is_in_datasets_folder(name):
            advice = advice_for_missing_files(name)
        raise LtDetError(
            f"The function that makes the dataset '{name}' fails ({type(error).__name__}: {error}); {advice}."
        ) from error
    names = MetadataCatalog.get(name).get("thing_classes")
    if names is None:
        raise LtDetError(f"'{name}' has no metadata thing_classes; set it with MetadataCatalog.get('{name}').set(...).")
    classes = set(range(len(names)))
    for record in records:
        for annotation in record.get("annotations", ()):
            if (found := annotation.get("category_id")) not in classes:
                raise LtDetError(
                    f"The function that makes the dataset '{name}' returns category_id {found} for "
                    f"{record.get('file_name')}, but thing_classes has {len(names)} names; return classes from 0 to "
                    f"{len(names) - 1}, not ids of a json."
                )
    return ClassStats.from_annotations(
        {
            "categories": [{"id": k, "name": class_name} for k, class_name in enumerate(names)],
            "images": [{**record, "id": index} for index, record in enumerate(records)],
            "annotations": [
                {**annotation, "id": "?", "image_id": index, "bbox": _xywh(annotation)}
                for index, record in enumerate(records)
                for annotation in record.get("annotations", ())
            ],
        },
        name,
    )


def _xywh(annotation: Mapping[str, Any]) -> list[float] | None:
    """The box of an annotation in Detectron2's form as x, y, width, height; None for a box in another form."""
    box, mode = annotation.get("bbox"), annotation.get("bbox_mode")
    if box is None or len(box) != 4 or mode not in (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
        return None
    x, y, third, fourth = map(float, box)
    return [x, y, third, fourth] if mode == BoxMode.XYWH_ABS else [x, y, third - x, fourth - y]
