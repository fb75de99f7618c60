"""The classes that gain and lose the most AP against something."""

from __future__ import annotations

from collections.abc import Sequence

from lt_det.evaluation.result import percent
from lt_det.evaluation.schema import ClassEntry, Numbers
from lt_det.terminal import signed

EXTREMES_COLUMNS = ("class", "AP", "difference", "images", "bucket")
_SHOWN = 8


def class_extremes(
    classes: Sequence[ClassEntry], before: Numbers, differences: Numbers
) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of the classes that gained the most and of those that lost the most.

    Args:
        classes: K classes.
        before: (K,) AP that the differences add to.
        differences: (K,) in points; None: the class is left out.
    """
    known = [
        (value, old, entry)
        for value, old, entry in zip(differences, before, classes, strict=True)
        if value is not None and old is not None
    ]

    def rows(sign: int) -> list[list[str]]:
        picked = sorted((point for point in known if sign * point[0] > 0), key=lambda point: -sign * point[0])
        return [
            [
                entry.name,
                f"{percent(old)} -> {percent(old + value)}",
                signed(value),
                "?" if entry.images is None else str(entry.images),
                entry.bucket or "-",
            ]
            for value, old, entry in picked[:_SHOWN]
        ]

    return rows(1), rows(-1)
