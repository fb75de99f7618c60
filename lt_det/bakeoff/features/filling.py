"""Fill the tables of a feature cache chunk by chunk, each process its part of the chunks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.utils import comm
from numpy.typing import NDArray

from lt_det.bakeoff.cache.cache import ROIS
from lt_det.bakeoff.cache.writer import TableWriter
from lt_det.bakeoff.features.images import Unit, build_loader, seeded
from lt_det.bakeoff.features.proposals import TestProposals
from lt_det.bakeoff.features.training_rois import TrainingRois
from lt_det.evaluation.progress import Track

logger = logging.getLogger(__name__)

IMAGES_PER_CHUNK = 32

Columns = dict[str, NDArray[Any]]
_SAMPLING = 1  # its random numbers are not those of the augmentation


@dataclass(frozen=True)
class Table:
    """A table to fill.

    Attributes:
        writer: of the table.
        records: of its dataset.
        units: the images in their order, once for each pass.
        training: whether the images are augmented as in training.
        rows: the rows of one image, from the mapped record and its unit.
        image_ids: ids of the images of the table.
    """

    writer: TableWriter
    records: Any
    units: Sequence[Unit]
    training: bool
    rows: Callable[[Any, Unit], Columns]
    image_ids: list[Any]

    def chunk(self, number: int) -> Sequence[Unit]:
        return self.units[number * IMAGES_PER_CHUNK : (number + 1) * IMAGES_PER_CHUNK]

    def missing(self) -> int:
        """The number of images in chunks that are not written yet."""
        return sum(len(self.chunk(number)) for number in self.writer.missing())


def roi_table(
    folder: Path,
    records: Any,
    images: NDArray[np.int64],
    image_weights: NDArray[np.float64] | None,
    sampled: TrainingRois,
    passes: int,
    seed: int,
) -> Table:
    """The table of the training images' RoIs, with columns such as "labels_0", of stage 0.

    Args:
        folder: of the cache.
        records: of all training images.
        images: (N,) which of them to sample RoIs in.
        image_weights: (N,) factors of the weights of their RoIs; None: no factor.
        sampled: the RoIs of an image.
        passes: over the images.
        seed: of the sampling.
    """
    weight_of = None if image_weights is None else dict(zip(images.tolist(), image_weights.tolist(), strict=True))

    def rows(record: Any, unit: Unit) -> Columns:
        columns: Columns = {}
        with seeded(seed, *unit, _SAMPLING):  # for proposal generators that use the global generators
            for stage, found in enumerate(sampled(record, np.random.default_rng([seed, *unit, _SAMPLING]))):
                if weight_of is not None:
                    found["weights"] = found["weights"] * np.float32(weight_of[unit[1]])
                found["images"] = np.full(len(found["labels"]), unit[1], dtype=np.int64)
                columns |= {f"{name}_{stage}": values for name, values in found.items()}
        return columns

    units = [(number, image) for number in range(passes) for image in images.tolist()]
    return Table(_writer(folder / ROIS, units), records, units, True, rows, _ids(records, range(len(records))))


def proposal_table(folder: Path, name: str, records: Any, images: Sequence[int], found: TestProposals) -> Table:
    """The table of the proposals of some images of a dataset."""
    units = [(0, int(image)) for image in images]
    writer = _writer(folder / "proposals" / name, units)
    return Table(writer, records, units, False, lambda record, _: found(record), _ids(records, images))


def _writer(folder: Path, units: Sequence[Unit]) -> TableWriter:
    return TableWriter(folder, -(-len(units) // IMAGES_PER_CHUNK))


def _ids(records: Any, images: Sequence[int]) -> list[Any]:
    return [records[image]["image_id"] for image in images]


def fill(cfg: Any, tables: Sequence[Table], seed: int, track: Track) -> None:
    """Compute this process's part of the missing chunks; the main process also merges what is there.

    Args:
        cfg: of the detector.
        tables: the same in all processes.
        seed: of augmentation and sampling.
        track: wraps the loop over this process's images, to show progress.

    Raises:
        LtDetError: a disk that is full, an image that cannot be read.
    """
    rank, size = comm.get_rank(), comm.get_world_size()
    parts = [(table, [chunk for chunk in table.writer.missing() if chunk % size == rank]) for table in tables]
    comm.synchronize()  # from now on chunks appear, and disappear where they are merged
    left = sum(len(table.chunk(chunk)) for table, chunks in parts for chunk in chunks)
    steps = iter(track(range(left)))
    next(steps, None)
    for table, chunks in parts:
        start, images = time.monotonic(), 0
        loaded = _load(cfg, table, chunks, seed)
        for chunk in chunks:
            rows = []
            for unit in table.chunk(chunk):
                rows.append(table.rows(next(loaded), unit))
                next(steps, None)
            table.writer.write(chunk, {name: np.concatenate([one[name] for one in rows]) for name in rows[0]})
            if comm.is_main_process():
                table.writer.merge()
            left, images = left - len(rows), images + len(rows)
            if chunk == chunks[0] and left:
                per_image = (time.monotonic() - start) / images
                logger.info("%.1f images per second; about %.1f minutes left.", 1 / per_image, left * per_image / 60)
    comm.synchronize()
    if comm.is_main_process():
        for table in tables:
            table.writer.merge()


def _load(cfg: Any, table: Table, chunks: Sequence[int], seed: int) -> Iterator[Any]:
    units = [unit for chunk in chunks for unit in table.chunk(chunk)]
    return build_loader(cfg, table.records, units, training=table.training, seed=seed) if units else iter(())
