"""Compute the features of a frozen detector, in chunks of images, and continue where a killed process stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.modeling import build_model
from detectron2.utils import comm
from numpy.typing import NDArray

from lt_det.bakeoff.cache.cache import CACHE_NAME, ROIS, FeatureCache, read_about
from lt_det.bakeoff.cache.key import cache_key, differences
from lt_det.bakeoff.cache.writer import TableWriter, writing
from lt_det.bakeoff.features.images import Unit, build_loader, seeded, test_records, training_records
from lt_det.bakeoff.features.proposals import TestProposals
from lt_det.bakeoff.features.recorder import recording
from lt_det.bakeoff.features.training_rois import Thinning, TrainingRois
from lt_det.errors import LtDetError
from lt_det.evaluation.progress import Track
from lt_det.io.atomic import write_atomically
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.launch.single_process import silence_known_warnings
from lt_det.training.launch.timeouts import evaluation_timeout
from lt_det.training.preflight import check_datasets, prepare_device

logger = logging.getLogger(__name__)

VERSION = 1  # of the cache's files; a cache of another version is not used
IMAGES_PER_CHUNK = 32

Columns = dict[str, NDArray[Any]]


def compute_features(
    cfg: Any,
    folder: str | Path,
    *,
    passes: int = 1,
    dtype: str = "float16",
    datasets: Sequence[str] | None = None,
    track: Track = iter,
) -> FeatureCache:
    """Compute the feature cache of MODEL.WEIGHTS, or what is missing of it.

    Args:
        cfg: of the detector; its datasets are registered.
        folder: of the cache; an unfinished cache in it is continued, a finished one is returned.
        passes: over the training images, each with its own augmentation and sampling.
        dtype: of the training features, "float16" or "float32". Those of the proposals are always float32.
        datasets: whose proposals are recorded; None: DATASETS.TEST and DATASETS.TRAIN.
        track: wraps the loop over the images, to show progress.

    Raises:
        LtDetError: no checkpoint, or one that does not fit; datasets that are missing; a box predictor that is neither
            Detectron2's nor lt_det's; a folder with the cache of another detector; a full disk.
    """
    folder = Path(folder)
    options = {"passes": passes, "dtype": dtype}
    datasets = list(dict.fromkeys([*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN] if datasets is None else datasets))
    silence_known_warnings()
    check_datasets([*cfg.DATASETS.TRAIN, *datasets])
    key = cache_key(cfg, datasets, options)
    about = read_about(folder)
    if about is not None:
        _check_key(folder, about, key)
        if about["finished"]:
            return FeatureCache.open(folder)
    prepare_device(cfg.MODEL.DEVICE, None, cfg.DATALOADER.NUM_WORKERS)
    model = build_model(cfg).eval()
    evaluation_checkpointer(model, "", cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD).load(cfg.MODEL.WEIGHTS)
    with recording(model.roi_heads) as stages:
        num_stages = len(stages)
    tables = _tables(cfg, model, folder, passes, np.dtype(dtype), datasets)
    about = {
        "version": VERSION,
        "finished": False,
        "key": key,
        "num_classes": model.roi_heads.num_classes,
        "num_stages": num_stages,
        "images": {name: table.image_ids for name, table in tables.items()},
    }
    with writing(folder):
        write_atomically(folder / CACHE_NAME, json.dumps(about))
    with evaluation_timeout():
        _fill(cfg, tables, track)
    if comm.is_main_process():
        for table in tables.values():
            table.writer.merge()
        with writing(folder):
            write_atomically(folder / CACHE_NAME, json.dumps({**about, "finished": True}))
    comm.synchronize()
    return FeatureCache.open(folder)


@dataclass
class _Table:
    """A table to fill: its images, and what the rows of one image are."""

    writer: TableWriter
    records: Any
    units: list[Unit]
    training: bool
    rows: Callable[[Any, Unit], Columns]
    image_ids: list[Any]

    def chunk(self, number: int) -> list[Unit]:
        return self.units[number * IMAGES_PER_CHUNK : (number + 1) * IMAGES_PER_CHUNK]


def _tables(
    cfg: Any, model: Any, folder: Path, passes: int, dtype: np.dtype[Any], datasets: Sequence[str]
) -> dict[str, _Table]:
    sampled = TrainingRois(model, Thinning(), dtype)
    seed = max(cfg.SEED, 0)

    def training_rows(record: Any, unit: Unit) -> Columns:
        columns: Columns = {}
        with seeded(seed, *unit, 1):
            for stage, found in enumerate(sampled(record, np.random.default_rng([seed, *unit]))):
                found["images"] = np.full(len(found["labels"]), unit[1], dtype=np.int64)
                columns |= {f"{name}_{stage}": rows for name, rows in found.items()}
        return columns

    records = training_records(cfg)
    units = [(number, image) for number in range(passes) for image in range(len(records))]
    tables = {ROIS: _table(folder / ROIS, records, units, True, training_rows)}
    proposals = TestProposals(model)
    for name in datasets:
        records = test_records(cfg, name)
        units = [(0, image) for image in range(len(records))]
        tables[name] = _table(
            folder / "proposals" / name, records, units, False, lambda record, _: proposals(record)
        )
    return tables


def _table(
    folder: Path, records: Any, units: list[Unit], training: bool, rows: Callable[[Any, Unit], Columns]
) -> _Table:
    writer = TableWriter(folder, -(-len(units) // IMAGES_PER_CHUNK))
    image_ids = [records[image]["image_id"] for image in range(len(records))]
    return _Table(writer, records, units, training, rows, image_ids)


def _fill(cfg: Any, tables: dict[str, _Table], track: Track) -> None:
    """Compute this process's part of the missing chunks."""
    rank, size = comm.get_rank(), comm.get_world_size()
    todo = [
        (table, [chunk for chunk in table.writer.missing() if chunk % size == rank]) for table in tables.values()
    ]
    images = [unit for table, chunks in todo for chunk in chunks for unit in table.chunk(chunk)]
    steps = iter(track(range(len(images))))
    for table, chunks in todo:
        units = [unit for chunk in chunks for unit in table.chunk(chunk)]
        if not units:
            continue
        loader = build_loader(cfg, table.records, units, training=table.training, seed=max(cfg.SEED, 0))
        for chunk in chunks:
            rows = []
            for unit in table.chunk(chunk):
                rows.append(table.rows(next(loader), unit))
                next(steps, None)
            table.writer.write(chunk, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
            if comm.is_main_process():
                table.writer.merge()
    next(steps, None)  # ends the loop that `track` shows


def _check_key(folder: Path, about: dict[str, Any], key: dict[str, Any]) -> None:
    different = differences(about["key"], json.loads(json.dumps(key)))
    if about["version"] != VERSION or different:
        what = ", ".join(different[:4]) or "the version of lt_det"
        raise LtDetError(
            f"{folder} holds the feature cache of another detector, config or dataset ({what} differ); choose another "
            "folder, or delete this one."
        )
