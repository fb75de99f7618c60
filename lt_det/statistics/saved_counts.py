"""Read the small json of class counts that a training saves, and refuse one that does not have its schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lt_det.errors import LtDetError
from lt_det.terminal import count_of

VERSION = 1
LARGEST_COUNT = 10**12  # sums of any number of classes stay within 64 bits
_HEAD = re.compile(rb'\s*\{\s*"class_stats"\s*:')  # annotation files can be gigabytes: do not parse one to find out
_SURROGATE = re.compile("[\ud800-\udfff]")
_KEYS = ("class_stats", "source", "fingerprint", "num_images", "names", "image_counts", "instance_counts")


def read_saved_counts(path: Path) -> dict[str, Any] | None:
    """The content of a file of saved counts; None for any other file.

    Raises:
        LtDetError: the file does not have the schema; the message names the key.
    """
    try:
        with path.open("rb") as file:
            if not _HEAD.match(file.read(200)):
                return None
        content = json.loads(path.read_bytes().decode())
    except OSError:
        return None  # whoever reads it as annotations reports what is wrong
    except (ValueError, RecursionError) as error:
        raise _corrupt(path, str(error).split(";")[0]) from None
    _check(content, path)
    return dict(content)


def _check(content: dict[str, Any], path: Path) -> None:
    for key in _KEYS:
        if key not in content:
            raise _corrupt(path, f"'{key}' is missing")
    for key in content:
        if key not in _KEYS:
            raise _corrupt(path, f"'{key[:60]}' is no key of it")
    if content["class_stats"] is True or content["class_stats"] != VERSION:
        raise _corrupt(path, f"'class_stats' is {content['class_stats']!r:.60}, but this version reads {VERSION}")
    names, images, instances = (content[key] for key in ("names", "image_counts", "instance_counts"))
    for key in ("source", "fingerprint"):
        if not _is_text(content[key]):
            raise _corrupt(path, f"'{key}' is no text")
    if not isinstance(names, list) or not names or not all(map(_is_text, names)):
        raise _corrupt(path, "'names' is no list of texts")
    if not _is_count(content["num_images"]):
        raise _corrupt(path, "'num_images' is no whole number from 0 on")
    for key, counts in (("image_counts", images), ("instance_counts", instances)):
        if key == "instance_counts" and counts is None:
            continue
        if not isinstance(counts, list) or len(counts) != len(names) or not all(map(_is_count, counts)):
            raise _corrupt(path, f"'{key}' is not one whole number from 0 on for each of {len(names)} classes")
    for k, name in enumerate(names):
        if images[k] > content["num_images"]:
            raise _corrupt(path, f"class '{name}' is in {images[k]} of {content['num_images']} images")
        if instances is not None and (instances[k] < images[k] or (images[k] == 0) != (instances[k] == 0)):
            raise _corrupt(
                path, f"class '{name}' has {count_of(instances[k], 'instance')} in {count_of(images[k], 'image')}"
            )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_COUNT


def _is_text(value: Any) -> bool:
    """A text that can be written to a file: half of a surrogate pair cannot."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _corrupt(path: Path, problem: str) -> LtDetError:
    return LtDetError(f"The saved counts {path} are corrupt ({problem}); remove the file, or count the classes again.")
