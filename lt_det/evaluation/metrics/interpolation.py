"""Interpolated precision: at a recall, the highest precision reached at that recall or any higher one.

Salton and McGill 1983, as VOC and COCO use it: AP is the mean of the interpolated precision at 101 recalls. It is
computed in two forms, which a test compares:

* `precision_at_recalls` gives the whole curve, equal to `lvis` and `pycocotools` to the last bit.
* `descending_envelope` and `num_recalls_reached` give AP alone, as the sum over true positives of envelope times newly
  reached recalls. It rounds differently (below 1e-9), but is what a thousand bootstrap draws can afford.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation._arrays import Floats, Ints
from lt_det.evaluation.protocols import RECALL_THRESHOLDS

# Whether a recall of exactly r/100, as a float, is below the threshold that stands for it.
_BELOW_THRESHOLD = np.arange(101) / 100 < RECALL_THRESHOLDS


def true_positives_needed(num_objects: Ints) -> Ints:
    """(K,) numbers of objects to (K, R): how many must be found for each recall, by division as floats."""
    safe = np.maximum(num_objects, 1)[:, None]
    needed = np.ceil(RECALL_THRESHOLDS * safe).astype(np.int64)
    needed -= (needed - 1) / safe >= RECALL_THRESHOLDS
    needed += needed / safe < RECALL_THRESHOLDS
    return needed


def precision_at_recalls(precision: Floats, starts: Ints, needed: Ints) -> Floats:
    """Interpolated precision of C curves; 0 at recalls that a curve does not reach.

    Args:
        precision: (n,) precision at each true positive, one curve after the other, by descending score.
        starts: (C,) index of the first true positive of each curve; each has one.
        needed: (C, R) see `true_positives_needed`.

    Returns:
        (C, R)
    """
    lengths = np.diff(np.append(starts, len(precision)))
    # The envelope of all curves at once, on ranks: they can be moved apart from curve to curve without rounding.
    order = np.argsort(precision)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    offset = np.repeat(np.arange(len(starts))[::-1] * len(precision), lengths)
    highest = np.maximum.accumulate((rank + offset)[::-1])[::-1] - offset
    index = starts[:, None] + np.clip(needed, 1, lengths[:, None]) - 1
    return np.where(needed <= lengths[:, None], precision[order[highest[index]]], 0.0)


def descending_envelope(precision: Floats, curve: Ints, num_curves: int) -> Floats:
    """(H,) the highest precision from each true positive to the end of its curve.

    Args:
        precision: (H,) precision at each true positive, one curve after the other, by descending score.
        curve: (H,) number of the curve, 0 to `num_curves` - 1, ascending.
    """
    step = 2.0 * (num_curves - curve)  # keeps the values of a curve above those of the next
    envelope: Floats = np.maximum.accumulate((precision + step)[::-1])[::-1] - step
    return envelope


def num_recalls_reached(true_positives: NDArray[np.int32], num_objects: Floats) -> NDArray[np.int32]:
    """How many of the 101 recalls are reached by so many true positives of so many objects; 0 for none."""
    hundredths = 100.0 * true_positives / num_objects
    whole = hundredths.astype(np.int32)
    reached = whole + np.int32(1)
    exact = np.flatnonzero(hundredths == whole)
    reached[exact] -= _BELOW_THRESHOLD[whole[exact]]
    reached[exact[true_positives[exact] == 0]] = 0
    return reached
