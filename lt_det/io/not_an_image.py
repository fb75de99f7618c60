"""What is in the place of an image that cannot be decoded, by the first bytes of the file."""

from __future__ import annotations

import os

from PIL import UnidentifiedImageError

_LONGEST = 32  # bytes that are looked at
_BEGINNINGS = {
    b"version https://git-lfs": "is a Git LFS pointer, without the image that it points to; run `git lfs pull`",
    b"<svg": "is an SVG drawing; convert it to PNG",
    b"<": "is a web page or XML; download the image itself",
    b"{": "is a json file; download the image itself",
    b"%pdf": "is a PDF file; convert its pages to images",
    b"pk\x03\x04": "is a zip archive; unpack it",
    b"\x1f\x8b": "is compressed with gzip; unpack it",
}
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis")  # of ISO media files


def other_content(file: str | os.PathLike[str]) -> str | None:
    """What a file is if it is no image that can be decoded, and what to do, as a predicate; None if that is unknown."""
    if not os.path.isfile(file):  # opening a pipe would wait for ever
        return None
    try:
        with open(file, "rb") as opened:
            start = opened.read(_LONGEST)
    except OSError:
        return None
    if not start:
        return "is empty; download it again"
    if start[4:8] == b"ftyp" and start[8:12] in _BRANDS:
        return "is a HEIC or AVIF image, which this Pillow cannot read; convert it to JPEG or PNG"
    found = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((what for beginning, what in _BEGINNINGS.items() if found.startswith(beginning)), None)


def why_unreadable(file: str | os.PathLike[str], error: Exception, advice: str = "") -> str:
    """What is wrong with a file from which Pillow could make no image, as a predicate.

    Args:
        file: its path.
        error: of Pillow.
        advice: the end of the sentence where the content of the file suggests nothing better.
    """
    if content := other_content(file):
        return content
    # The text of an UnidentifiedImageError is the repr of an object.
    reason = "not an image" if isinstance(error, UnidentifiedImageError) else first_line(error)
    return f"cannot be read ({reason}){advice}"


def first_line(error: Exception) -> str:
    """A message of Pillow as a part of a sentence: some end with a full stop, and some have a second line."""
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
