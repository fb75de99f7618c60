"""Which look (colour, marker, hatch) a bucket has in every chart."""

from __future__ import annotations

from collections.abc import Sequence

from lt_det.statistics.buckets import UNSEEN

_PLACES, _UNSEEN_PLACE = (0, 1, 2, 3, 5, 6, 7), 4


def bucket_places(names: Sequence[str]) -> dict[str, int]:
    """Index of each bucket's look among the eight; a bucket has the same one with and without "unseen" beside it."""
    seen = [name for name in names if name != UNSEEN]
    return {UNSEEN: _UNSEEN_PLACE} | {name: _PLACES[index % len(_PLACES)] for index, name in enumerate(seen)}
