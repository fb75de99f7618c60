"""COCO results written image by image, so that they are never in memory as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO


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
        """Add detections to this process's part."""
        if not detections:
            return
        if self._part is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._part = self._name(self._rank).open("a")
        # A comma after each: the last one of all is taken off when the parts are joined.
        self._part.write("".join(f"{json.dumps(detection)},\n" for detection in detections))

    def close(self) -> None:
        """End this process's part; before the parts are joined."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def join(self, ranks: Iterable[int]) -> list[int]:
        """Put the parts of these processes together; each is removed by its own process.

        Returns:
            the ranks of which a part was found.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        found = [rank for rank in ranks if self._name(rank).is_file()]
        unfinished = self._file.with_suffix(".unfinished")
        with unfinished.open("wb") as whole:
            whole.write(b"[\n")
            for rank in found:
                with self._name(rank).open("rb") as source:
                    shutil.copyfileobj(source, whole)
            if found:
                whole.seek(-2, 1)
            whole.write(b"\n]\n")
        unfinished.replace(self._file)
        return found

    def remove_part(self) -> None:
        """Remove this process's part."""
        self.close()
        self._name(self._rank).unlink(missing_ok=True)

    def _name(self, rank: int) -> Path:
        return self._file.with_suffix(f".part{rank}")
