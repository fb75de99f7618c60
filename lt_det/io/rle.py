"""Compressed run lengths of masks, as pycocotools writes them: how many pixels they cover.

pycocotools believes that they cover the whole mask. Where they do not, its overlap never ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LONGEST = 7  # characters of a number below 2**32, of five bits each


def covered_pixels(counts: Sequence[str | bytes]) -> NDArray[np.int64]:
    """(N,) sums of the runs of N masks, all at once; -1 for what is no run lengths.

    A character holds five bits of a number, the lowest first, and whether more follow; the number's highest bit is its
    sign. From the fourth on a number is the difference to the run before the last.
    """
    texts = [text.encode("utf-8", "replace") if isinstance(text, str) else text for text in counts]
    stop = np.cumsum([0, *map(len, texts)])
    codes = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)
    wrong = _in_each(codes > 63, stop)
    full = np.flatnonzero(np.diff(stop))
    ends = codes < 32
    wrong[full] |= ~ends[stop[full + 1] - 1]
    ends[stop[full + 1] - 1] = True  # what is cut must not go on in the next mask

    last = np.flatnonzero(ends)
    length = np.diff(last, prepend=-1)
    number = (codes[last] & 31).astype(np.int64)
    number[number > 15] -= 32
    for before in range(1, min(int(length.max(initial=0)), _LONGEST)):
        longer = np.flatnonzero(length > before)
        number[longer] = number[longer] * 32 + (codes[last[longer] - before] & 31)

    first = np.searchsorted(last, stop)  # of the numbers of each mask
    place = np.arange(len(last)) - np.repeat(first[:-1], np.diff(first))
    even = place % 2 == 0
    runs = np.where(place == 0, number, 0)
    for which in (even & (place > 0), ~even):
        summed = np.cumsum(np.where(which, number, 0))
        before_mask = np.concatenate([[0], summed])[first[:-1]]
        runs = np.where(which, summed - np.repeat(before_mask, np.diff(first)), runs)
    wrong |= _in_each((runs < 0) | (length > _LONGEST), first)
    totals = np.concatenate([[0], np.cumsum(runs)])[first]
    return np.where(wrong, -1, np.diff(totals))


def _in_each(flags: NDArray[np.bool_], stop: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether any flag is set between two borders."""
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[stop]) > 0
