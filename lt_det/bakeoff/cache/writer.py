"""Write the columns of a table in chunks of images; a process that is killed loses at most the chunk at hand."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError, writing_advice
from lt_det.io.atomic import atomic_file, write_atomically

STATE_NAME = "table.json"
_HEADER = 128  # bytes of the header of a .npy file with one or two dimensions, whatever its number of rows


_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Column(msgspec.Struct, omit_defaults=True):
    rows: _Number
    dtype: str
    shape: list[_Number]
    crc32: _Number | msgspec.UnsetType = msgspec.UNSET


class _State(msgspec.Struct):
    """The entries of ``table.json`` and their types."""

    chunks: _Number
    merged: _Number
    columns: dict[str, _Column]


class TableWriter:
    """The columns of a table, of which every chunk of images has some rows.

    Any process may write any chunk, to a file of its own. The main process appends these files to the columns in their
    order. The number of rows that belong to each column is kept in ``table.json``, which is replaced after the rows are
    on disk: what a killed process has appended beyond it is overwritten.

    The columns of a finished table are ordinary ``.npy`` files.
    """

    def __init__(self, folder: Path, num_chunks: int) -> None:
        """
        Args:
            folder: of the table; created.
            num_chunks: of the finished table.

        Raises:
            LtDetError: the folder cannot be written, or holds a table of another number of chunks.
        """
        self.folder = folder
        self.num_chunks = num_chunks
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        found = self._state()["chunks"]
        if found != num_chunks:
            raise LtDetError(f"{folder} holds a table of {found} chunks instead of {num_chunks}; delete the folder.")

    def _state(self) -> dict[str, Any]:
        """Read again each time, because another process may be the one that merges."""
        if (self.folder / STATE_NAME).exists():
            return read_state(self.folder)
        return {"chunks": self.num_chunks, "merged": 0, "columns": {}}

    @property
    def finished(self) -> bool:
        return bool(self._state()["merged"] == self.num_chunks)

    def clean_up(self) -> None:
        """Merge the chunks and remove the unfinished files that a killed process has left. No other process may write.

        Raises:
            LtDetError: see `merge`.
        """
        with writing(self.folder):
            for unfinished in self.folder.glob(".*"):
                unfinished.unlink()
            for chunk in range(self._state()["merged"]):
                self._path(chunk).unlink(missing_ok=True)  # the state was written, and the chunk not yet removed
        self.merge()

    def missing(self) -> list[int]:
        """The chunks that no process has written yet."""
        return [chunk for chunk in range(self._state()["merged"], self.num_chunks) if not self._path(chunk).exists()]

    def write(self, chunk: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Write the rows of a chunk; the file appears completely or not at all.

        Args:
            chunk: its number.
            columns: rows of every column, each (rows,) or (rows, D).

        Raises:
            LtDetError: the disk is full or cannot be written.
        """
        with writing(self.folder), atomic_file(self._path(chunk)) as unfinished, unfinished.open("xb") as file:
            np.savez(file, **columns)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())

    def merge(self) -> None:
        """Append the chunks that are next in order to the columns, and remove their files. Only one process may do so.

        Raises:
            LtDetError: the disk is full or cannot be written, or a chunk is corrupt.
        """
        state = self._state()
        while state["merged"] < self.num_chunks and (path := self._path(state["merged"])).exists():
            columns = dict(state["columns"])
            for name, rows in _read_chunk(path).items():
                with writing(self.folder):
                    columns[name] = self._append(name, rows, columns.get(name))
            state = {"chunks": self.num_chunks, "merged": state["merged"] + 1, "columns": columns}
            with writing(self.folder):
                write_atomically(self.folder / STATE_NAME, json.dumps(state))
                path.unlink()

    def _append(self, name: str, rows: NDArray[Any], column: Mapping[str, Any] | None) -> dict[str, Any]:
        """Append rows to a column, write its new header, and return what the state says about it."""
        before = column["rows"] if column else 0
        path = self.folder / f"{name}.npy"
        rows = np.ascontiguousarray(rows)
        width = rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64))
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b") as file:
            file.truncate(_HEADER + before * width if column else 0)
            file.write(_header(rows.dtype, (before + len(rows), *rows.shape[1:])))
            file.seek(_HEADER + before * width)
            if rows.size:
                file.write(rows.data)
            file.flush()
            os.fsync(file.fileno())
        state = {"rows": before + len(rows), "dtype": rows.dtype.str, "shape": list(rows.shape[1:])}
        if column is None or "crc32" in column:  # a column that an earlier version began has none
            state["crc32"] = zlib.crc32(rows.reshape(-1).view(np.uint8).data, column["crc32"] if column else 0)
        return state

    def _path(self, chunk: int) -> Path:
        return self.folder / f"chunk_{chunk:06d}.npz"


def read_state(folder: Path) -> dict[str, Any]:
    """What ``table.json`` says: the number of chunks, how many are merged, and rows, type and shape of each column.

    Raises:
        LtDetError: the file is missing or corrupt.
    """
    try:
        state = msgspec.convert(json.loads((folder / STATE_NAME).read_text()), _State)
        return dict(msgspec.to_builtins(state))
    except (OSError, ValueError, RecursionError) as error:
        raise LtDetError(f"The feature cache {folder} is corrupt ({STATE_NAME} cannot be read); delete it.") from error


class writing:
    """Within, an error of the operating system becomes one sentence that names the folder and says what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason, advice = error.strerror or error, writing_advice(error)
            raise LtDetError(
                f"The feature cache {self.folder} cannot be written ({reason}); {advice}. Start again with the same "
                "folder to continue: what is finished is kept."
            ) from error


def _read_chunk(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path) as columns:
            return {name: columns[name] for name in columns.files}
    except Exception as error:  # of a corrupt file: whatever NumPy meets in it
        raise LtDetError(f"The chunk {path} of a feature cache is corrupt; delete it and start again.") from error


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The first `_HEADER` bytes of a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    header = buffer.getvalue()
    # NumPy fills up to a multiple of 64 bytes, and only newer versions leave room for more digits.
    start, text = header[:10], header[10:].rstrip(b" \n")
    assert len(start) + len(text) < _HEADER
    return start[:8] + (_HEADER - 10).to_bytes(2, "little") + text.ljust(_HEADER - 11) + b"\n"
