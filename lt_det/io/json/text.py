"""Decode the text of a json file, and say in one sentence where and why that fails."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from lt_det.errors import LtDetError

# A sane file nests a handful of levels; the limit of the interpreter's own recursion differs by version.
MAX_DEPTH = 100
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_OTHER_FILES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}
_OTHER_TEXTS = {
    "version https://git-lfs": "is a Git LFS pointer, without the file that it points to; run `git lfs pull`",
    "<!doctype html": "is a web page; download the file itself",
    "<html": "is a web page; download the file itself",
    "<": "is XML, and no json; check the path",
}
_NEAR = 20  # characters shown on each side of a mistake
_LONGEST_START = 100  # characters in which the first line of a file of another kind is
_AGAIN = "it may be truncated: download or write it again"


def read_bytes(file: str | os.PathLike[str], kind: str) -> bytes:
    """The content of a json file that a user named, in UTF-8 without a byte order mark.

    Args:
        file: path of the file, in UTF-8, UTF-16 or UTF-32.
        kind: what the file should be, for error messages, such as "annotation file".

    Raises:
        LtDetError: the file is missing, unreadable, empty, compressed or no text.
    """
    with opening(file, kind):
        content = Path(file).read_bytes()
    return to_utf8(content, f"The {kind} {file}")


@contextlib.contextmanager
def opening(file: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Context in which a failure to open or read `file` becomes an `LtDetError`."""
    try:
        yield
    except FileNotFoundError:
        raise LtDetError(f"The {kind} {file} does not exist; check the path.") from None
    except OSError as error:
        raise LtDetError(f"The {kind} {file} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # a null character in the path
        raise LtDetError(f"The {kind} {str(file)!r} cannot be read: {error}.") from None


def to_utf8(content: bytes, what: str) -> bytes:
    """Bytes of a json text as UTF-8 without a byte order mark.

    Raises:
        LtDetError: empty, compressed, or not in the encoding that the first bytes show.
    """
    check_head(content[:8], what)
    encoding = json.detect_encoding(content[:8])
    if encoding == "utf-8-sig":
        content = content[3:]
    elif encoding != "utf-8":
        try:
            content = content.decode(encoding).encode()
        except UnicodeError as error:
            raise LtDetError(f"{what} is not valid json ({_encoding_error(error)}); write it as UTF-8.") from None
    if not content.strip():
        raise LtDetError(f"{what} is empty; download or write it again.")
    return content


def check_head(head: bytes, what: str) -> None:
    """
    Raises:
        LtDetError: the first bytes are those of a compressed file, or of another kind of file.
    """
    for magic, name in _OTHER_FILES.items():
        if head.startswith(magic):
            raise LtDetError(f"{what} is {name}, and no json; check the path.")
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            but = " (a file of torch.save holds none)" if name == "zip" else ""
            raise LtDetError(f"{what} is compressed ({name}); decompress it and name the json inside{but}.")
    if head.lstrip().startswith((b"{'", b"[{'")):
        raise LtDetError(f"{what} is a Python literal, with single quotes; write it with json.dump.")


def decode_json(text: bytes, what: str, place: Callable[[int], int] = int) -> Any:
    """The value of a json text. NaN and infinities are read as Python writes them.

    Args:
        text: UTF-8.
        what: names the file, for messages: "The annotation file train.json".
        place: function from a byte of the text to that byte in its file.

    Raises:
        LtDetError: not valid json, nested too deeply, or a text with half of a surrogate pair.
    """
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(text)  # the same result as json.loads in a quarter of the time
    try:
        value = json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise LtDetError(f"{what} is not valid json ({_encoding_error(error, place)}); write it as UTF-8.") from None
    except json.JSONDecodeError as error:
        byte = place(len(error.doc[: error.pos].encode()))
        near = error.doc[max(0, error.pos - _NEAR) : error.pos + _NEAR]
        start = error.doc[:_LONGEST_START].lstrip().lower()
        for beginning, found in _OTHER_TEXTS.items():
            if start.startswith(beginning):
                raise LtDetError(f"{what} {found}.") from None
        if error.msg == "Extra data" and _are_lines(error.doc, error.pos):
            raise LtDetError(
                f"{what} is not valid json, but json lines; write one list of all lines (jq -s . FILE > LIST.json)."
            ) from None
        if error.msg == "Extra data":
            raise LtDetError(
                f"{what} is not valid json (more than one value: the second begins at byte {byte}, near {near!r}); "
                "write one value, such as a list of all of them."
            ) from None
        raise LtDetError(f"{what} is not valid json ({error.msg} at byte {byte}, near {near!r}); {_AGAIN}.") from None
    except RecursionError:
        raise too_deep(what, place(0)) from None
    except ValueError as error:  # a number of thousands of digits
        raise LtDetError(f"{what} is not valid json ({str(error).split(';')[0]}); correct the number.") from None
    _check_surrogates(value, what)
    return value


def too_deep(what: str, byte: int) -> LtDetError:
    """The error for a file that nests too deeply."""
    return LtDetError(f"{what} is not valid json (nested too deeply, after byte {byte}); write it again.")


def not_complete(what: str, problem: str) -> LtDetError:
    """The error for a file that is no json as a whole."""
    return LtDetError(f"{what} is not valid json ({problem}); {_AGAIN}.")


def _check_surrogates(value: Any, what: str) -> None:
    """json reads half of a surrogate pair, which no file and no terminal can take afterwards."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        around = (
            error.object[max(0, error.start - _NEAR) : error.end + _NEAR].encode("ascii", "backslashreplace").decode()
        )
        raise LtDetError(
            f"{what} holds a text with half of a surrogate pair, near {around}; write the character itself."
        ) from None
    except RecursionError:
        raise too_deep(what, 0) from None


def _are_lines(text: str, second: int) -> bool:
    """Whether the value that begins at `second` begins a line, and the value before is a line."""
    return "\n" not in text[:second].strip() and text[second - 1 : second + 1] in ("\n{", "\n[")


def _encoding_error(error: UnicodeError, place: Callable[[int], int] = int) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {place(error.start)} is not {error.encoding}"
    return "a character has no code in UTF-8"
