"""Image counts of an artificial long tail."""

from __future__ import annotations

import math

import pytest

from lt_det.datasets.imbalance import target_counts
from lt_det.errors import LtDetError


# The sizes of the training sets of CIFAR-10-LT and CIFAR-100-LT that the literature states.
@pytest.mark.parametrize(
    ("ratio", "num_classes", "largest", "total"),
    [
        (10, 10, 5000, 20431),
        (50, 10, 5000, 13996),
        (100, 10, 5000, 12406),
        (10, 100, 500, 19573),
        (100, 100, 500, 10847),
    ],
)
def test_exponential_counts_are_those_of_long_tailed_cifar(
    ratio: int, num_classes: int, largest: int, total: int
) -> None:
    counts = target_counts("exponential", ratio, num_classes, largest)
    assert (len(counts), sum(counts)) == (num_classes, total)
    assert (counts[0], counts[-1]) == (largest, largest // ratio)
    assert counts == sorted(counts, reverse=True)


def test_step_counts() -> None:
    assert target_counts("step", 100, 10, 5000) == [5000] * 5 + [50] * 5


@pytest.mark.parametrize(("num_classes", "large"), [(2, 1), (3, 1), (4, 2), (5, 2), (101, 50)])
def test_step_has_as_many_large_classes_as_the_code_of_ldam(num_classes: int, large: int) -> None:
    assert target_counts("step", 10, num_classes, 25) == [25] * large + [2] * (num_classes - large)


@pytest.mark.parametrize("kind", ["exponential", "step"])
def test_every_class_has_an_image_and_a_ratio_of_1_is_balanced(kind: str) -> None:
    assert target_counts(kind, 1, 4, 7) == [7] * 4
    assert target_counts(kind, 1, 1, 7) == target_counts(kind, 100, 1, 7) == [7]
    assert min(target_counts(kind, 1000, 5, 20)) == 1


def test_exact_quotients_are_not_rounded_down() -> None:
    for largest in range(1, 300):
        for ratio in (r for r in range(1, largest + 1) if largest % r == 0):
            assert target_counts("exponential", ratio, 7, largest)[-1] == largest // ratio


@pytest.mark.parametrize(
    ("kind", "ratio", "num_classes", "largest", "named"),
    [
        ("pareto", 10, 3, 5, "pareto"),
        ("step", 0.5, 3, 5, "0.5"),
        ("step", math.nan, 3, 5, "nan"),
        ("step", math.inf, 3, 5, "inf"),
        ("step", 10, 0, 5, "0 classes"),
        ("step", 10, 3, 0, "0 images"),
    ],
)
def test_an_impossible_imbalance_is_refused(
    kind: str, ratio: float, num_classes: int, largest: int, named: str
) -> None:
    with pytest.raises(LtDetError, match=named):
        target_counts(kind, ratio, num_classes, largest)
