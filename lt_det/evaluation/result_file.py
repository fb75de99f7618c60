"""COCO results written image by image, so that they are never in memory as a whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, TextIO


class ResultFile:
    """A json list of detections that several processes write, each its own part."""

    def __init__(self, file: Path, rank: int = 0) -> None:
        """
        Args:
            file: of the whole list.
            rank: of this process.
        """
        self._file, self._rank = file, rank
        self._part: TextIO | None = None

    def write(self, detections: list[dict[str, Any]]) -> None:
        """Add detections to this process's part."""
        if self._part is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._part = self._name(self._rank).open("w")
        for detection in detections:
            self._part.write(f"{',' if self._part.tell() else ''}\n{json.dumps(detection)}")

    def close(self) -> None:
        """End this process's part; before the parts are joined."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def join(self, num_processes: int) -> None:
        """Put all parts that are on this machine together, and remove them."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        parts = [part for rank in range(num_processes) if (part := self._name(rank)).is_file()]
        with self._file.open("wb") as whole:
            whole.write(b"[")
            first = True
            for part in parts:
                if part.stat().st_size:
                    whole.write(b"" if first else b",")
                    first = False
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, whole)
                part.unlink()
            whole.write(b"]\n")

    def _name(self, rank: int) -> Path:
        return self._file.with_suffix(f".part{rank}")
