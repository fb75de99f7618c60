"""Read a json object with long lists in pieces, so that a file of any size takes little memory."""

from __future__ import annotations

import io
import json
import operator
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lt_det.io.json.text import MAX_DEPTH, check_head, decode_json, not_complete, opening, to_utf8, too_deep

_CHUNK = 4 * 2**20  # bytes read at once
_QUOTE = 2
_KINDS = np.zeros(256, dtype=np.int8)  # of a byte: +1 opens a level, -1 closes one
_KINDS[[ord("{"), ord("[")]] = 1
_KINDS[[ord("}"), ord("]")]] = -1
_KINDS[ord('"')] = _QUOTE
_KEY = re.compile(rb'("(?:[^"\\]|\\.)*")\s*:\s*$')


class JsonSections:
    """A json file that holds an object. The lists among its values, its sections, are decoded in pieces.

    The file is scanned once when it is opened. A list that does not end, or anything wrong outside of the lists, is
    found then; the rest when a piece is decoded.

    Attributes:
        rest: the object with empty sections; for a file that holds something else, that.
    """

    def __init__(self, file: str | os.PathLike[str], kind: str) -> None:
        """
        Args:
            file: path of the file.
            kind: what the file should be, for error messages, such as "annotation file".

        Raises:
            LtDetError: the file is missing, unreadable, empty, compressed or no json, or a key of the object occurs
                twice.
        """
        self._what = f"The {kind} {file}"
        with opening(file, kind):
            self._file: IO[bytes] = Path(file).open("rb")  # noqa: SIM115 - closed by __exit__
            try:
                self._start(kind)
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> JsonSections:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def names(self) -> list[str]:
        """Names of the sections."""
        return list(self._pieces)

    def pieces(self, name: str) -> Iterator[list[Any]]:
        """The values of a section, a few megabytes at a time; nothing for a section that there is not.

        Raises:
            LtDetError: a value is not valid json.
        """
        first = True
        for start, stop in self._pieces.get(name, ()):
            self._file.seek(start)
            text = self._file.read(stop - start).lstrip()
            if not text:
                continue
            if not first:
                if not text.startswith(b","):
                    raise not_complete(self._what, f"',' is missing in '{name}' at byte {start}")
                if text[1:].strip():  # otherwise the decoder reports a comma with nothing behind it
                    text = text[1:]
            first = False
            yield decode_json(b"[" + text + b"]", self._what, partial(operator.add, stop - len(text) - 1))

    def _start(self, kind: str) -> None:
        head = self._file.read(8)
        check_head(head, self._what)
        seekable = self._file.seekable()
        if not head.strip() or not seekable or json.detect_encoding(head) != "utf-8":
            content = to_utf8(head + self._file.read(), self._what)
            self._file.close()
            self._file = io.BytesIO(content)
        self._file.seek(0)
        self._pieces: dict[str, list[tuple[int, int]]] = {}
        scan = _Scan(self._file, self._what)
        if not scan.is_object:
            self._file.seek(0)
            self.rest = decode_json(to_utf8(self._file.read(), self._what), self._what)
            return
        for name, pieces in scan.run():
            self._pieces[name] = pieces
        self.rest = scan.rest()


class _Scan:
    """Finds the sections of a file by counting brackets outside of texts."""

    def __init__(self, file: IO[bytes], what: str) -> None:
        self._file, self._what = file, what
        self._skeleton = bytearray()  # what is not inside a section
        self._offsets: list[tuple[int, int]] = []  # places in the skeleton and in the file
        head = b" "
        while head and not head.strip():
            head = file.read(1)
        self.is_object = head == b"{"
        file.seek(0)

    def run(self) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        """Yield name and pieces, as start and end in the file, of each section."""
        depth, in_text, escaped = 0, False, False
        base = 0  # of the chunk in the file
        pieces: list[tuple[int, int]] | None = None  # of the section that the scan is in
        start = 0  # of the current piece
        name = ""
        while chunk := self._file.read(_CHUNK):
            kept = 0  # up to here, the chunk is in the skeleton or in a section
            place, kind, in_text, escaped = _brackets(chunk, in_text, escaped)
            levels = depth + np.cumsum(kind, dtype=np.int64)
            if len(levels):
                depth = int(levels[-1])
                if levels.min() < 0:
                    raise not_complete(self._what, f"a bracket too many near byte {base + int(place[levels.argmin()])}")
                if levels.max() > MAX_DEPTH:
                    raise too_deep(self._what, base + int(place[(levels > MAX_DEPTH).argmax()]))
            # A section opens or closes where the level becomes 2 or 1; a value of it ends where the level becomes 2.
            opens = (kind > 0) & (levels == 2) & (np.frombuffer(chunk, np.uint8)[place] == ord("["))
            closes = (kind < 0) & (levels == 1)
            ends = place[(kind < 0) & (levels == 2)]
            for index in np.flatnonzero(opens | closes).tolist():
                at = int(place[index])
                if opens[index]:
                    self._keep(chunk[kept : at + 1], base + kept)
                    name, pieces, start = self._name(base + at), [], base + at + 1
                elif pieces is not None:
                    pieces.append((start, base + at))
                    yield name, pieces
                    pieces, kept = None, at
            if pieces is None:
                self._keep(chunk[kept:], base + kept)
            else:
                last = int(ends[-1]) + 1 + base if len(ends) else 0
                if last > start:
                    pieces.append((start, last))
                    start = last
            base += len(chunk)
        if depth or in_text:
            raise not_complete(self._what, "it ends in the middle of a value")

    def rest(self) -> Any:
        """The value of what is not inside a section.

        Raises:
            LtDetError: not valid json, or a key occurs twice.
        """
        text = bytes(self._skeleton)
        value = decode_json(text, self._what, self._in_file)
        pairs = json.loads(text, object_pairs_hook=lambda pairs: pairs)
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise not_complete(self._what, f"the key '{key}' occurs twice")
            seen.add(key)
        return value

    def _keep(self, text: bytes, offset: int) -> None:
        self._offsets.append((len(self._skeleton), offset))
        self._skeleton += text

    def _name(self, byte: int) -> str:
        """The key before a section that begins at `byte`."""
        found = _KEY.search(self._skeleton[-2000:-1])
        if found is None:
            raise not_complete(self._what, f"a list without a key at byte {byte}")
        return str(decode_json(bytes(found[1]), self._what, lambda _: byte))

    def _in_file(self, byte: int) -> int:
        """The place in the file of a byte of the skeleton."""
        kept, offset = self._offsets[bisect_right(self._offsets, (byte, sys.maxsize)) - 1]
        return offset + byte - kept


def _brackets(chunk: bytes, in_text: bool, escaped: bool) -> tuple[NDArray[np.int64], NDArray[np.int8], bool, bool]:
    """The brackets of a chunk outside of texts: their places and their kinds.

    Args:
        chunk: of the file.
        in_text: whether the chunk begins inside a text.
        escaped: whether a backslash before the chunk escapes its first character.

    Returns:
        Places, kinds, and the two flags for the next chunk.
    """
    content = np.frombuffer(chunk, dtype=np.uint8)
    kinds = _KINDS[content]
    place = np.flatnonzero(kinds)
    kinds = kinds[place]
    if escaped or b"\\" in chunk:
        free, escaped = _unescaped(content, place, escaped)
        place, kinds = place[free | (kinds != _QUOTE)], kinds[free | (kinds != _QUOTE)]
    quotes = kinds == _QUOTE
    inside = (np.cumsum(quotes) + in_text) % 2 == 1  # after each of them
    outside = ~quotes & ~inside
    return place[outside], kinds[outside], bool(inside[-1]) if len(inside) else in_text, escaped


def _unescaped(content: NDArray[np.uint8], place: NDArray[np.int64], escaped: bool) -> tuple[NDArray[np.bool_], bool]:
    """Which places are not behind an odd number of backslashes, and whether the character behind the end is."""
    slashes = np.concatenate([[escaped], content == ord("\\")])  # one to the right
    other = np.concatenate([[-1], np.flatnonzero(~slashes)])
    before = np.concatenate([place, [len(content)]])  # index of the character before each place
    last_other = other[np.searchsorted(other, before, side="right") - 1]
    odd = (before - last_other) % 2 == 1
    return ~odd[:-1], bool(odd[-1])
