"""What image ids may stand for that are not those of the ground truth: file names, numbers in them, or positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

ADVICE = "write the ids that the ground truth gives its images"

Reading = Callable[[Any], Any]  # from an id to the image id that it may stand for; None for none


class ImageIds:
    """The ids and file names of the images of a ground truth, in the order of its file."""

    def __init__(self, images: Iterable[Mapping[str, Any]] = ()) -> None:
        """
        Args:
            images: of COCO's structure; ``file_name`` may be missing.
        """
        named = [(image["id"], str(image.get("file_name") or image.get("coco_url") or "")) for image in images]
        self._ids = [id_ for id_, _ in named]
        self._names = [re.split(r"[/\\]", name)[-1] for _, name in named]

    def readings(self) -> dict[str, Reading]:
        """What an id may stand for, by the words for it, the likelier first."""
        ids, names = self._ids, self._names
        found: dict[str, Reading] = {}
        if all(names):
            stems = [name.rpartition(".")[0] or name for name in names]
            numbers = [_last_number(stem) for stem in stems]
            found["file names"] = _unique(names, ids)
            found["file names without the extension"] = _unique(stems, ids)
            found["the numbers in the file names"] = _unique(numbers, ids)
        numeric = _unique([_whole(id_) for id_ in ids], ids)
        found["the ids with other zeros in front"] = lambda id_: numeric(_whole(id_))
        positions = {"as they are listed": ids}
        if all(names):
            positions["in the order of their file names"] = [id_ for _, id_ in sorted(zip(names, ids, strict=True))]
        positions["in the order of their ids"] = sorted(ids)
        for order, ordered in positions.items():
            for first in (0, 1):
                words = f"positions of the images {order}, counted from {first}"
                found[words] = _unique(range(first, first + len(ids)), ordered)
        if all(type(id_) is int for id_ in ids):
            found["one below the image ids"] = _unique([id_ - 1 for id_ in ids], ids)
            found["one above the image ids"] = _unique([id_ + 1 for id_ in ids], ids)
        return found

    def hint(self, unknown: Sequence[Any]) -> str:
        """A sentence if ids of which some are unknown all have another meaning; else empty.

        Args:
            unknown: ids of the images of the detections.
        """
        distinct = set(unknown)
        if None in distinct:
            return ""
        for words, meaning in self.readings().items():
            if all(meaning(id_) is not None for id_ in distinct):
                return f" All of them could be {words}: {ADVICE}."
        return ""


def _unique(keys: Iterable[Any], ids: Sequence[Any]) -> Reading:
    """The id of a key that only one image has."""
    found: dict[Any, Any] = {}
    for key, id_ in zip(keys, ids, strict=True):
        found[key] = None if key in found else id_
    found.pop(None, None)
    return lambda key: found.get(_last_part(key)) if isinstance(key, str) else found.get(key)


def _last_part(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]


def _last_number(stem: str) -> int | None:
    numbers = re.findall(r"\d+", stem)
    return _whole(numbers[-1]) if numbers else None


def _whole(value: Any) -> int | None:
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else None
