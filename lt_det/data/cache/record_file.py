"""A file with the records of a dataset, which any number of processes can map into memory."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import time
import zlib
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from numpy.typing import NDArray

from lt_det.data.image_errors import ErrorOfAWorker
from lt_det.data.record_kinds import kinds_of, pixels_of
from lt_det.io.atomic import atomic_file
from lt_det.statistics.class_stats import ClassStats

# Layout of the file: the pickled records, one after the other; ids and names of the images; everything else (`about`);
# the length of that in eight bytes and its CRC-32 in four; this marker. `about` has the CRC-32 of everything before it.
_END = b"<lt_det records>"
_FOOTER = 8 + 4 + len(_END)


class CorruptCache(ErrorOfAWorker):
    """A record of the cache that is not what was written."""


class RecordFile:
    """The N images of a dataset as Detectron2 dictionaries, and per-image and per-annotation values as arrays.

    Attributes:
        path: of the file.
        made: when the file was written.
        stats: class counts of the json.
        metadata: what the dataset function put into Detectron2's MetadataCatalog.
        start: (N+1,) the annotations of image i are ``start[i] : start[i+1]``, of A in total.
        classes: (A,) contiguous class of each annotation.
        crowd: (A,) whether the annotation is a crowd region.
        keypoints: (N,) number of visible keypoints in the image.
        wide: (N,) whether the image is wider than high.
        kinds, pixels: (N,) each, see `lt_det.data.record_kinds`.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: a truncated or corrupt file, or one that `write_record_file` did not write. The records
                themselves are checked when they are read, or all at once by `verify`.
        """
        self.path = path
        with path.open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = len(self._mapped) - _FOOTER
        footer = self._mapped[end:]
        if footer[12:] != _END:
            raise ValueError("its end is missing")
        length, checksum = int.from_bytes(footer[:8], "little"), int.from_bytes(footer[8:12], "little")
        content = self._mapped[max(end - length, 0) : end]
        if zlib.crc32(content) != checksum:
            raise ValueError("its table of contents is corrupt")
        about = _unpickled(content)
        place = np.frombuffer(about["place"], dtype=np.int64)
        if place[-1] + about["images"] != end - length:
            raise ValueError("its length is wrong")
        stats = about["stats"]
        counts = {key: np.asarray(stats[key], dtype=np.int64) for key in ("image_counts", "instance_counts")}
        self.stats = ClassStats(**stats | counts)
        self.made: str = about["made"]
        self.metadata: dict[str, Any] = about["metadata"]
        self._place = np.append(place, end - length)  # the last piece is the list of images
        self._checksums = np.frombuffer(about["checksums"], dtype=np.int64)
        self.start, self.classes, self.keypoints, self.pixels = (
            np.frombuffer(about[key], dtype=np.int64) for key in ("start", "classes", "keypoints", "pixels")
        )
        self.kinds: NDArray[np.uint8] = np.frombuffer(about["kinds"], dtype=np.uint8)
        self.crowd: NDArray[np.bool_] = np.frombuffer(about["crowd"], dtype=np.bool_)
        self.wide: NDArray[np.bool_] = np.frombuffer(about["wide"], dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Raises:
            LtDetError: the file has become corrupt.
        """
        record: dict[str, Any] = _unpickled(self._piece(index))
        for annotation in record["annotations"]:
            annotation["bbox_mode"] = BoxMode.XYWH_ABS
        return record

    def images(self) -> list[tuple[Any, str]]:
        """Id and file name of each image.

        Raises:
            LtDetError: the file has become corrupt.
        """
        return list(_unpickled(self._piece(len(self))))

    def verify(self) -> None:
        """Compare every record with its checksum, at the speed of the disk.

        Raises:
            ValueError: the file is corrupt.
        """
        content = memoryview(self._mapped)
        places = self._place.tolist()
        sums = [zlib.crc32(content[start:stop]) for start, stop in pairwise(places)]
        corrupt = np.flatnonzero(self._checksums != sums)
        if len(corrupt):
            raise ValueError(f"{len(corrupt)} of {len(sums)} checksums do not match")

    def _piece(self, index: int) -> bytes:
        content = self._mapped[self._place[index] : self._place[index + 1]]
        if zlib.crc32(content) != self._checksums[index]:
            raise CorruptCache(
                f"The cached records {self.path} have become corrupt (record {index}); start again, with --resume to "
                "continue a training: the file is written again then. Check the disk if it happens twice."
            )
        return content

    def __reduce__(self) -> tuple[Any, ...]:
        return RecordFile, (self.path,)  # another process maps the file again


def write_record_file(path: Path, records: list[dict[str, Any]], stats: ClassStats, metadata: dict[str, Any]) -> None:
    """Write a file that `RecordFile` reads; it appears completely or not at all.

    Args:
        path: of the file; only one process at a time may write it.
        records: images as Detectron2's COCO and LVIS functions return them, boxes XYWH_ABS; the list is emptied in the
            process, to free memory.
        stats: class counts of the json.
        metadata: for Detectron2's MetadataCatalog.

    Raises:
        OSError: the file cannot be written.
    """
    place, start, checksums = [0], [0], []
    classes, crowd, keypoints, wide, kinds, pixels, images = [], [], [], [], [], [], []
    with atomic_file(path) as unfinished, unfinished.open("xb") as file:
        records.reverse()
        while records:
            record = records.pop()
            for annotation in record["annotations"]:
                del annotation["bbox_mode"]
                classes.append(annotation["category_id"])
                crowd.append(bool(annotation.get("iscrowd", 0)))
            keypoints.append(sum(_visible_keypoints(annotation) for annotation in record["annotations"]))
            wide.append(record["width"] > record["height"])
            kinds.append(kinds_of(record))
            pixels.append(pixels_of(record))
            images.append((record["image_id"], record["file_name"]))
            start.append(len(classes))
            content = pickle.dumps(record, protocol=5)
            checksums.append(zlib.crc32(content))
            place.append(place[-1] + file.write(content))
        content = pickle.dumps(images, protocol=5)
        checksums.append(zlib.crc32(content))
        integers = {"place": place, "start": start, "classes": classes, "keypoints": keypoints}
        integers |= {"pixels": pixels, "checksums": checksums}
        about = {key: np.asarray(values, dtype=np.int64).tobytes() for key, values in integers.items()} | {
            "crowd": np.asarray(crowd, dtype=np.bool_).tobytes(),
            "wide": np.asarray(wide, dtype=np.bool_).tobytes(),
            "kinds": np.asarray(kinds, dtype=np.uint8).tobytes(),
            "stats": {
                key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(stats).items()
            },
            "metadata": metadata,
            "made": time.strftime("%Y-%m-%d %H:%M"),
            "images": file.write(content),
        }
        content = pickle.dumps(about, protocol=5)
        length = file.write(content)
        file.write(length.to_bytes(8, "little") + zlib.crc32(content).to_bytes(4, "little") + _END)
        file.flush()
        os.fsync(file.fileno())


def _visible_keypoints(annotation: dict[str, Any]) -> int:
    return sum(visibility > 0 for visibility in annotation.get("keypoints", ())[2::3])


class _PlainUnpickler(pickle.Unpickler):
    """Loads numbers, strings, lists and dictionaries only, so that no file can make it run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not in files that lt_det writes")


def _unpickled(content: bytes) -> Any:
    return _PlainUnpickler(io.BytesIO(content)).load()
