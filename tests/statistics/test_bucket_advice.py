"""Edges suggested from the data, and what is said where one bucket holds all classes."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.statistics.bucket_advice import one_bucket_advice, suggested_edges
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats


def stats_of(images, instances=None):
    instances = None if instances is None else np.array(instances)
    names = tuple(f"c{k}" for k in range(len(images)))
    return ClassStats(names, np.array(images), instances, 10_000, "test")


@pytest.mark.parametrize(
    ("counts", "edges"),
    [
        ([3000, 120, 450], [200, 1000]),
        ([3000, 120, 450, 0], [200, 1000]),  # a class without images has a bucket of its own
        ([640, 611, 640], [620]),
        ([7, 7, 7], []),
        ([5], []),
        ([0, 0], []),
        ([7, 8, 9], [7, 8]),
        ([200] * 10 + [5000] * 2, [1000]),
    ],
)
def test_edges_by_hand(counts, edges):
    assert suggested_edges(np.array(counts)) == edges


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(2, 5))
def test_every_suggested_bucket_has_a_class(counts, groups):
    stats = stats_of(counts)
    edges = suggested_edges(stats.image_counts, groups)
    different = len(set(counts) - {0})
    assert (len(edges) > 0) == (different > 1)
    assert len(edges) < groups
    buckets = FrequencyBuckets.from_edges(stats, edges)
    assert all(buckets.sizes()) or different == 0


def options_in(advice):
    """The edges or groups behind each option and key."""
    return re.findall(r"(--edges [\d ]*\d|--groups \d|EDGES \[[\d,]+\]|EQUAL_GROUPS \d|(?:--by|BY) instances)", advice)


def test_frequent_classes_only():
    stats = stats_of([3000, 120, 450], [9000, 6000, 700])
    advice = one_bucket_advice(FrequencyBuckets.from_edges(stats), stats)
    assert "frequent" in advice
    assert options_in(advice) == [
        "--groups 3", "--edges 200 1000", "--by instances", "--edges 2000 8000",
        "EQUAL_GROUPS 3", "EDGES [200,1000]", "BY instances", "EDGES [2000,8000]",
    ]  # fmt: skip


def test_unseen_classes_do_not_count():
    stats = stats_of([0, 150, 4000])
    advice = one_bucket_advice(FrequencyBuckets.from_edges(stats), stats)
    assert "All 2 classes with training images" in advice
    assert options_in(advice)[:2] == ["--groups 2", "--edges 1000"]


def test_equal_image_counts_are_divided_by_instances():
    """Groups of equal counts would follow the order of the classes."""
    stats = stats_of([500, 500, 500], [600, 3000, 90000])
    found = options_in(one_bucket_advice(FrequencyBuckets.from_edges(stats), stats))
    assert found[:4] == ["--by instances", "--groups 3", "--by instances", "--edges 1000 20000"]


def test_equal_counts_have_no_tail():
    stats = stats_of([500, 500], [600, 600])
    advice = one_bucket_advice(FrequencyBuckets.from_edges(stats), stats)
    assert "no tail" in advice
    assert not options_in(advice)


def test_without_counts():
    advice = one_bucket_advice(FrequencyBuckets(("rare", "frequent"), np.array([1, 1, 1])), None)
    assert "--train-stats" in advice


@pytest.mark.parametrize("counts", [[150], [5, 4000], [0, 150], [0, 0]])
def test_nothing_to_say(counts):
    stats = stats_of(counts)
    assert one_bucket_advice(FrequencyBuckets.from_edges(stats), stats) == ""
