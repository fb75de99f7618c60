"""The training and validation counts of mini_lvis with an imbalance, and what cannot be a dataset."""

from collections import Counter

import numpy as np
import pytest

from lt_det.datasets.imbalance import target_counts
from lt_det.datasets.mini_lvis.counts import (
    Imbalance,
    check_counts,
    describe_counts,
    frequency,
    train_counts,
    val_counts,
)
from lt_det.errors import LtDetError


@pytest.mark.parametrize("ratio", [10, 50, 100, 200])
def test_exponential_counts_fall_evenly_and_have_the_ratio(ratio: int) -> None:
    counts = train_counts(4000, 62, Imbalance("exponential", ratio))
    tail = counts[-1]
    assert counts == [round(tail * ratio ** (1 - rank / 61)) for rank in range(62)]
    assert counts[0] == ratio * tail
    assert 4.5 < sum(counts) / 4000 <= 5.05


@pytest.mark.parametrize("num_classes", [300, 301])
def test_step_counts_are_two_values(num_classes: int) -> None:
    counts = train_counts(8000, num_classes, Imbalance("step", 10))
    assert Counter(counts) == {240: 150, 24: num_classes - 150}


@pytest.mark.parametrize("kind", ["exponential", "step"])
@pytest.mark.parametrize("num_classes", [3, 61, 62, 301])
def test_shapes_are_those_of_long_tailed_subsets(kind: str, num_classes: int) -> None:
    """`lt-det subset` rounds down, mini_lvis to the nearest."""
    for ratio in (1, 3, 7, 10, 49, 100):
        counts = train_counts(8000, num_classes, Imbalance(kind, ratio))
        assert counts[0] == ratio * counts[-1]
        wanted = target_counts(kind, ratio, num_classes, counts[0])
        assert max(np.subtract(counts, wanted)) <= 1
        assert min(np.subtract(counts, wanted)) == 0


@pytest.mark.parametrize("ratio", [3, 7, 10, 49, 100])
def test_the_rarest_class_gets_the_images_that_are_exactly_enough(ratio: int) -> None:
    """5 classes in each of so many images are just `tail` images of each of 150 rare classes and R times as many of
    150 others; a sum that is too large by rounding would leave one less."""
    for tail in (1, 2, 5, 24):
        num_train = 30 * tail * (ratio + 1)
        assert set(train_counts(num_train, 300, Imbalance("step", ratio))) == {tail, ratio * tail}


def test_ratio_1_is_balanced() -> None:
    for kind in ("exponential", "step"):
        assert train_counts(8000, 300, Imbalance(kind, 1)) == [133] * 300


def test_a_class_is_in_at_most_half_of_the_images() -> None:
    assert train_counts(400, 12, Imbalance("exponential", 100))[0] == 200
    assert train_counts(400, 5, Imbalance("step", 1)) == [200] * 5


def test_lvis_counts_are_those_of_lvis_where_the_sizes_are() -> None:
    """Published: 337 rare, 461 common and 405 frequent classes; sums and extremes are of its `image_count` fields."""
    counts = train_counts(100_170, 1203, Imbalance("lvis"))
    scale = 5 * 100_170 / 360_952  # an image of LVIS has 3.6 annotated classes on average
    assert counts[0] == pytest.approx(scale * 1977, rel=0.01)
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    letters = Counter(frequency(round(count / scale)) for count in counts)
    for letter, published in {"r": 337, "c": 461, "f": 405}.items():
        assert letters[letter] == pytest.approx(published, abs=12)


def test_lvis_counts_keep_their_shape_with_other_sizes() -> None:
    counts = train_counts(4000, 62, Imbalance("lvis"))
    assert (counts[0], counts[-1]) == (2000, 1)
    assert Counter(map(frequency, counts)) == {"r": 18, "c": 23, "f": 21}
    assert min(train_counts(8000, 300, Imbalance("lvis"))) == 1


@pytest.mark.parametrize(("num_train", "num_classes"), [(4000, 300), (20_000, 1203)])
def test_many_classes_without_an_imbalance_fill_the_buckets(num_train: int, num_classes: int) -> None:
    counts = train_counts(num_train, num_classes, None)
    check_counts(counts, num_train, num_train // 10, None)
    assert 4.9 < sum(counts) / num_train <= 5
    assert counts[-1] == 3


def test_validation_is_balanced() -> None:
    counts = train_counts(8000, 300, Imbalance("exponential", 100))
    assert val_counts(counts, 600, Imbalance("exponential", 100)) == [10] * 300
    assert val_counts([5, 1, 1], 10, Imbalance("step", 5)) == [10] * 3


def test_description_has_buckets_extremes_and_ratio() -> None:
    assert describe_counts([200, 20, 2, 4], [5, 5, 5, 5]) == (
        "4 classes (2 rare, 1 common, 1 frequent), 2 to 200 training images each (ratio 100), 5 validation images each"
    )


@pytest.mark.parametrize(
    ("kind", "ratio", "message"),
    [
        ("linear", 10, "linear.*exponential, step or lvis"),
        ("lvis", 100, "leave out the ratio 100"),
        ("step", None, "needs a ratio"),
        ("exponential", 0.5, r"ratio.* 0\.5"),
        ("step", float("nan"), "ratio.* nan"),
        ("step", float("inf"), "ratio.* inf"),
    ],
)
def test_impossible_imbalances_are_refused(kind: str, ratio: float | None, message: str) -> None:
    with pytest.raises(LtDetError, match=message):
        Imbalance(kind, ratio)


@pytest.mark.parametrize(
    ("num_train", "num_val", "num_classes", "imbalance", "message"),
    [
        (4000, 400, 62, Imbalance("step", 5000), "step with ratio 5000.*no image"),
        (1000, 400, 1203, Imbalance("exponential", 100), "1000 training images and 1203 classes.*no image"),
        (0, 400, 62, Imbalance("step", 1), "no image"),
        (100, 400, 1203, Imbalance("lvis"), "more than 6 classes in an image"),
        (400, 40, 5, Imbalance("exponential", 100), "some image would have no object"),
        (8000, 40, 300, Imbalance("step", 10), "40 validation images cannot show"),
        (1000, 400, 1203, None, "no common and no frequent|no frequent"),
    ],
)
def test_impossible_sizes_are_refused(
    num_train: int, num_val: int, num_classes: int, imbalance: Imbalance | None, message: str
) -> None:
    with pytest.raises(LtDetError, match=message):
        check_counts(train_counts(num_train, num_classes, imbalance), num_train, num_val, imbalance)
