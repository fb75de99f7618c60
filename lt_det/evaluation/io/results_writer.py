"""Write COCO results image by image, so that they are never in memory as a whole."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from lt_det.errors import LtDetError, writing_advice
from lt_det.io.atomic import atomic_file


class ResultFile:
    """A json list of detections; each of several processes writes a part of it."""

    def __init__(self, file: Path, rank: int = 0) -> None:
        """
        Args:
            file: path of the whole list.
            rank: rank of this process; a part left over from an earlier evaluation is removed.
        """
        self._file, self._rank = file, rank
        self._part: TextIO | None = None
        self._name(rank).unlink(missing_ok=True)

    def write(self, detections: list[dict[str, Any]]) -> None:
        """Append detections to this process's part.

        Raises:
            LtDetError: the disk is full or not writable; also raised by `close` and `join`.
        """
        if not detections:
            return
        with self._report_full_disk():
            if self._part is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._part = self._name(self._rank).open("a")
            # A comma after each detection: the very last one is removed when the parts are joined.
            self._part.write("".join(f"{json.dumps(detection)},\n" for detection in detections))

    def close(self) -> None:
        """Close this process's part; call it before the parts are joined."""
        part, self._part = self._part, None
        if part is not None:
            with self._report_full_disk():
                part.close()

    def join(self, ranks: Iterable[int]) -> list[int]:
        """Join the parts of these ranks; each process removes its own part.

        Returns:
            Ranks whose part was found.
        """
        found = [rank for rank in ranks if self._name(rank).is_file()]
        with self._report_full_disk():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._file) as unfinished, unfinished.open("wb") as whole:
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

    def discard(self) -> None:
        """Remove this process's part after it could not be written."""
        for finish in (self.close, self.remove_part):
            with contextlib.suppress(LtDetError, OSError):
                finish()

    @contextlib.contextmanager
    def _report_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason, advice = error.strerror or error, writing_advice(error, elsewhere="")
            raise LtDetError(f"The detections cannot be written to {self._file} ({reason}); {advice}.") from error

    def _name(self, rank: int) -> Path:
        return self._file.with_suffix(f".part{rank}")
