"""The two ends of the long tail: the classes that the sentences of a diagnosis compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lt_det.evaluation.diagnosis_schema import Diagnosis
from lt_det.evaluation.schema import Numbers
from lt_det.statistics.buckets import UNSEEN


@dataclass(frozen=True)
class Group:
    """Classes and their name in a sentence, such as "rare classes"."""

    name: str
    members: tuple[int, ...]

    def median(self, values: Numbers) -> float | None:
        """Median over the classes with a value; None if no class has one."""
        known = [value for k in self.members if (value := values[k]) is not None]
        return float(np.median(known)) if known else None


def tail_and_head(diagnosis: Diagnosis, *required: Numbers) -> tuple[Group, Group] | None:
    """The rarest and the most frequent bucket, or third of the classes where fewer than two buckets are known.

    Args:
        diagnosis: of the detector.
        required: only classes with all of these values count.

    Returns:
        None if there are not two groups of such classes.
    """
    known = [k for k in range(len(diagnosis.classes)) if all(values[k] is not None for values in required)]
    buckets = [
        Group(f"{name} classes", tuple(k for k in known if diagnosis.classes[k].bucket == name))
        for name in diagnosis.buckets.names
        if name != UNSEEN
    ]
    buckets = [group for group in buckets if group.members]
    if len(buckets) >= 2:
        return buckets[0], buckets[-1]
    third = len(known) // 3
    if not third:
        return None
    ordered = [k for k in frequency_order(diagnosis) if k in set(known)]
    head, tail = tuple(ordered[:third]), tuple(ordered[-third:])
    return Group("the rarest third of the classes", tail), Group("the most frequent third", head)


def medians(diagnosis: Diagnosis, values: Numbers) -> tuple[Group, float, Group, float] | None:
    """The tail and its median, the head and its median."""
    ends = tail_and_head(diagnosis, values)
    if ends is None:
        return None
    tail, head = ends[0].median(values), ends[1].median(values)
    assert tail is not None
    assert head is not None
    return ends[0], tail, ends[1], head


def frequency_order(diagnosis: Diagnosis) -> list[int]:
    """Indices of the classes from the most to the least frequent, by what the buckets count and then by the other."""
    first, second = ("images", "count") if diagnosis.buckets.by == "images" else ("count", "images")

    def key(k: int) -> tuple[int, int, int]:
        entry = diagnosis.classes[k]
        return (-getattr(entry, first), -getattr(entry, second), k)

    return sorted(range(len(diagnosis.classes)), key=key)


def ratios(numerators: Numbers, denominators: Numbers) -> Numbers:
    """Quotient of each class; None where either is not known or the denominator is 0."""
    return [None if a is None or not b else a / b for a, b in zip(numerators, denominators, strict=True)]


def differences(values: Numbers, others: Numbers) -> Numbers:
    return [None if a is None or b is None else a - b for a, b in zip(values, others, strict=True)]


def number(value: float) -> str:
    """Two or three significant digits: 0.012, 0.43, 1.7, 23, 1450."""
    if value == 0:
        return "0"
    digits = 2 if abs(value) >= 10 or abs(value) < 1 else 1
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}" if digits == 2 else f"{value:.1f}"


def percentage(fraction: float) -> str:
    """0.5 %, 43 %."""
    return f"{100 * fraction:.0f} %" if fraction >= 0.095 or fraction == 0 else f"{100 * fraction:.1f} %"


def listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
