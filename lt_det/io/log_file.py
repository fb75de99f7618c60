"""A log file that a full disk does not turn into an error."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path


class LogFile:
    """A text file for appending whole lines, as a stream for logging handlers and writers.

    Where a text cannot be written, it is dropped as a whole, one line on standard error says so, and later texts are
    tried again. Nothing is raised after the file has been opened.
    """

    def __init__(self, path: Path, consequence: str, sync: bool = False) -> None:
        """
        Args:
            path: of the file; created unless it exists.
            consequence: what the user should know when lines are lost, as the end of a sentence.
            sync: whether `flush` waits until the disk has the content.

        Raises:
            OSError: the file cannot be opened.
        """
        self._path, self._consequence = path, consequence
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._sync, self._is_failing = sync, False

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        content = memoryview(text.encode(errors="backslashreplace"))
        if self._file is None:
            return len(text)
        end = 0
        try:
            end = os.lseek(self._file, 0, os.SEEK_END)
            while content:
                content = content[os.write(self._file, content) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)  # no half line, to which the next one would be appended
            self._report(error)
        else:
            self._is_failing = False
        return len(text)

    def flush(self) -> None:
        """Wait for the disk if the file is to be synchronized; nothing is buffered here."""
        if self._file is None or not self._sync:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):  # not a file on a disk, such as a pipe
                self._report(error)

    def close(self) -> None:
        """Close the file; what is written afterwards is dropped."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)

    def _report(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            with contextlib.suppress(OSError, ValueError):
                print(
                    f"warning: {self._path} cannot be written ({error.strerror}); {self._consequence}.", file=sys.stderr
                )
