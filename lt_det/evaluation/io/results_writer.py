"""COCO results written image by image, so that they are never in memory as a whole."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from lt_det.errors import LtDetError
from lt_det.io.atomic import whole_file


class ResultFile:
    """A json list of detections that several processes write, each its own part."""

    def __init__(self, file: Path, rank: int = 0) -> None:
        """
        Args:
            file: of the whole list.
            rank: of this process; a part that an earlier run left behind is removed.
        """
        self._file, self._rank = file, rank
        self._part: TextIO | None = None
        self._name(rank).unlink(missing_ok=True)

    def write(self, detections: list[dict[str, Any]]) -> None:
        """Add detections to this process's part.

        Raises:
            LtDetError: the disk is full or not writable; `close` and `join`, too.
        """
        if not detections:
            return
        with self._full_disk_told():
            if self._part is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._part = self._name(self._rank).open("a")
            # A comma after each: the last one of all is taken off when the parts are joined.
            self._part.write("".join(f"{json.dumps(detection)},\n" for detection in detections))

    def close(self) -> None:
        """End this process's part; before the parts are joined."""
        part, self._part = self._part, None
        if part is not None:
            with self._full_disk_told():
                part.close()

    def join(self, ranks: Iterable[int]) -> list[int]:
        """Put the parts of these processes together; each is removed by its own process.

        Returns:
            the ranks of which a part was found.
        """
        found = [rank for rank in ranks if self._name(rank).is_file()]
        with self._full_disk_told():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._file) as unfinished, unfinished.open("wb") as whole:
                whole.write(b"[\n")
                for rank in found:
                    with self._name(rank).open("rb") as source:
                        shutil.copyfileobj(source, whole)
                if found:
                    whole.seek(-2, 1)
                whole.write(b"\n]\n")
        return found

    def remove_part(self) -> None:
        """Remove this process's part."""
        self.close()
        self._name(self._rank).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LtDetError(
                f"The detections cannot be written to {self._file} ({error.strerror}); make room there."
            ) from error

    def _name(self, rank: int) -> Path:
        return self._file.with_suffix(f".part{rank}")
