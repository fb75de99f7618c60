"""What category ids may stand for that are not those of the ground truth: class indices, ids off by one, or names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

ADVICE = "write the ids that the ground truth gives its categories"


def id_readings(known: Sequence[int]) -> dict[str, Callable[[int], int | None]]:
    """What an id may stand for, by the words for it; the functions return the category id, or None."""
    ids, first = set(known), sorted(known)
    return {
        "one below the category ids": lambda id_: id_ + 1 if id_ + 1 in ids else None,
        "one above the category ids": lambda id_: id_ - 1 if id_ - 1 in ids else None,
        f"class indices, 0 to {len(first) - 1}": lambda id_: first[id_] if 0 <= id_ < len(first) else None,
        f"class numbers, 1 to {len(first)}": lambda id_: first[id_ - 1] if 1 <= id_ <= len(first) else None,
    }


def unknown_ids_hint(found: Sequence[Any], known: Sequence[Any], names: Sequence[str] = ()) -> str:
    """A sentence if category ids of which some are unknown all have another meaning; else empty.

    Args:
        found: ids of the detections.
        known: ids of the ground truth.
        names: of the categories of the ground truth.
    """
    distinct = set(found)
    are_texts = all(isinstance(id_, str) for id_ in distinct)
    if are_texts and {id_.lower() for id_ in distinct} <= set(map(str.lower, names)):
        return f" All of them could be names of categories: {ADVICE}."
    if not all(type(id_) is int for id_ in (*distinct, *known)):
        return ""
    # Indices first: ids that are one below 1, 2, 3, ... are indices, too, which says more.
    readings = list(id_readings(known).items())
    for words, meaning in (*readings[2:], *readings[:2]):
        if all(meaning(id_) is not None for id_ in distinct):
            return f" All of them ({min(distinct)} to {max(distinct)}) could be {words}: {ADVICE}."
    return ""
