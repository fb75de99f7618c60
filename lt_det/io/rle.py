"""How many pixels compressed RLE masks cover.

pycocotools assumes that an RLE covers its whole mask. If it does not, its IoU never returns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MAX_LENGTH = 7  # characters of a number below 2**32, with five bits each


def covered_pixels(counts: Sequence[str | bytes]) -> NDArray[np.int64]:
    """(N,) pixels covered by N masks, computed at once; -1 for an invalid RLE.

    A character holds five bits of a number, lowest bits first, and a flag whether more follow; the highest bit of a
    number is its sign. From the fourth number on, a number is the difference to the run before the previous one.
    """
    texts = [text.encode("utf-8", "replace") if isinstance(text, str) else text for text in counts]
    stop = np.cumsum([0, *map(len, texts)])
    codes = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)
    wrong = _in_each(codes > 63, stop)
    full = np.flatnonzero(np.diff(stop))
    ends = codes < 32
    wrong[full] |= ~ends[stop[full + 1] - 1]
    ends[stop[full + 1] - 1] = True  # a truncated number must not continue in the next mask

    last = np.flatnonzero(ends)
    length = np.diff(last, prepend=-1)
    number = (codes[last] & 31).astype(np.int64)
    number[number > 15] -= 32
    for before in range(1, min(int(length.max(initial=0)), _MAX_LENGTH)):
        longer = np.flatnonzero(length > before)
        number[longer] = number[longer] * 32 + (codes[last[longer] - before] & 31)

    first = np.searchsorted(last, stop)  # index of the first number of each mask
    position = np.arange(len(last)) - np.repeat(first[:-1], np.diff(first))
    even = position % 2 == 0
    runs = np.where(position == 0, number, 0)
    for mask in (even & (position > 0), ~even):
        summed = np.cumsum(np.where(mask, number, 0))
        before_mask = np.concatenate([[0], summed])[first[:-1]]
        runs = np.where(mask, summed - np.repeat(before_mask, np.diff(first)), runs)
    wrong |= _in_each((runs < 0) | (length > _MAX_LENGTH), first)
    totals = np.concatenate([[0], np.cumsum(runs)])[first]
    return np.where(wrong, -1, np.diff(totals))


def _in_each(flags: NDArray[np.bool_], stop: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether any flag is set in each range between two stops."""
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[stop]) > 0
