"""Read a finished feature cache; its columns are mapped into memory."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lt_det.bakeoff.cache.tables import ProposalTable, RoiTable
from lt_det.bakeoff.cache.writer import read_state
from lt_det.errors import LtDetError
from lt_det.terminal import count_of

VERSION = 1  # of the files and of the chunks; a cache of another version is not read
CACHE_NAME = "cache.json"
ROIS = "rois"
_BLOCK = 2**24  # bytes
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class _About(msgspec.Struct):
    """The entries of ``cache.json`` and their types."""

    version: int
    finished: bool
    key: dict[str, Any]
    num_classes: _Positive
    num_stages: _Positive
    images: dict[str, list[Any]]


class FeatureCache:
    """Sampled RoIs of the training images and proposals at test time, of each stage of the box head.

    Attributes:
        folder: of the cache.
        num_classes: K.
        num_stages: stages of the box head, 1 unless it is a cascade.
        datasets: names of the datasets whose proposals are there.
        key: what the features were computed from.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        self.num_classes: int = about["num_classes"]
        self.num_stages: int = about["num_stages"]
        self.datasets: list[str] = list(about["images"])
        if ROIS not in self.datasets:
            raise self._corrupt(f"{CACHE_NAME} lists no images of {ROIS}")
        self.datasets.remove(ROIS)
        self.key: dict[str, Any] = about["key"]
        self._images: dict[str, list[Any]] = about["images"]
        self._verified: set[Path] = set()  # columns are read once in full to compare their checksums

    @classmethod
    def open(cls, folder: str | Path) -> FeatureCache:
        """
        Raises:
            LtDetError: the cache is missing, unfinished or corrupt.
        """
        folder = Path(folder)
        about = read_about(folder)
        if about is None:
            raise LtDetError(f"There is no feature cache in {folder}; compute one with lt_det's compute_features.")
        if not about["finished"]:
            raise LtDetError(f"The feature cache {folder} is unfinished; run the same command again to finish it.")
        return cls(folder, about)

    def rois(self, stage: int = 0) -> RoiTable:
        """The sampled RoIs of the training images, as one stage sees them.

        Raises:
            LtDetError: there is no such stage, or the file is corrupt.
        """
        self._check_stage(stage)
        names = ("features", "labels", "images", "ious", "weights")
        columns = {name: self._column(ROIS, f"{name}_{stage}") for name in names}
        rows, images = {len(column) for column in columns.values()}, columns["images"]
        if len(rows) > 1 or not (images < len(self._images[ROIS])).all():
            raise self._corrupt(f"the columns of {ROIS} do not fit each other, or the images in {CACHE_NAME}")
        return RoiTable(**columns, image_ids=self._images[ROIS], num_classes=self.num_classes)

    def proposals(self, name: str) -> ProposalTable:
        """What the box predictors get at test time.

        Args:
            name: a registered dataset, one of `datasets`.

        Raises:
            LtDetError: the proposals of that dataset are not in the cache, or a file is corrupt.
        """
        if name not in self.datasets:
            raise LtDetError(
                f"The feature cache {self.folder} has no proposals of '{name}'; it has those of "
                f"{', '.join(self.datasets)}."
            )
        folder = f"proposals/{name}"
        table = ProposalTable(
            features=[self._column(folder, f"features_{stage}") for stage in range(self.num_stages)],
            proposals=[self._column(folder, f"proposals_{stage}") for stage in range(self.num_stages)],
            start=np.concatenate([[0], np.cumsum(self._column(folder, "counts"))]).astype(np.int64),
            network_sizes=self._column(folder, "network_sizes"),
            sizes=self._column(folder, "sizes"),
            image_ids=self._images[name],
        )
        of_images = {len(table.start) - 1, len(table.network_sizes), len(table.sizes), len(table.image_ids)}
        of_proposals = {int(table.start[-1]), *map(len, table.features), *map(len, table.proposals)}
        if len(of_images) > 1 or len(of_proposals) > 1:
            raise self._corrupt(f"the columns of {folder} do not fit each other, or the images in {CACHE_NAME}")
        return table

    def _check_stage(self, stage: int) -> None:
        if not 0 <= stage < self.num_stages:
            stages = count_of(self.num_stages, "stage")
            raise LtDetError(f"The feature cache {self.folder} has {stages}, and no stage {stage}.")

    def _column(self, table: str, name: str) -> NDArray[Any]:
        folder = self.folder / table
        about = read_state(folder)["columns"].get(name, {})
        path = folder / f"{name}.npy"
        try:
            column: NDArray[Any] = np.load(path, mmap_mode="r" if about.get("rows") else None)
            expected = (about["rows"], *about["shape"])
            if column.shape != expected or column.dtype != np.dtype(about["dtype"]):
                raise ValueError(f"it has the shape {column.shape} instead of {expected}")
            if path not in self._verified and "crc32" in about and about["crc32"] != _checksum(column):
                raise ValueError("its checksum does not match")
            self._verified.add(path)
        except Exception as error:  # of a corrupt file: whatever NumPy meets in it
            raise self._corrupt(f"{path.name}: {error}") from error
        return column

    def _corrupt(self, reason: str) -> LtDetError:
        return LtDetError(f"The feature cache {self.folder} is corrupt ({reason}); delete it and compute it again.")


def _checksum(column: NDArray[Any]) -> int:
    """CRC-32 of the rows, in blocks: a column may be larger than the memory."""
    checksum = 0
    rows = max(1, _BLOCK // max(1, column[:1].nbytes))
    for start in range(0, len(column), rows):
        block = np.ascontiguousarray(column[start : start + rows]).reshape(-1)
        checksum = zlib.crc32(block.view(np.uint8).data, checksum)
    return checksum


def read_about(folder: Path) -> dict[str, Any] | None:
    """What ``cache.json`` says, or None without such a file.

    Raises:
        LtDetError: the file is corrupt, or of another version of lt_det.
    """
    try:
        content = json.loads((folder / CACHE_NAME).read_text())
        about = msgspec.convert(content, _About)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise LtDetError(
            f"The feature cache {folder} is corrupt ({CACHE_NAME} cannot be read); delete it and compute it again."
        ) from error
    if about.version != VERSION:
        raise LtDetError(
            f"The feature cache {folder} was written by another version of lt_det; delete it and compute it again."
        )
    return msgspec.structs.asdict(about)
