"""Confusion that keeps the pairs that occur, against a table of all pairs."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lt_det.bakeoff.diagnosis.confusion import ConfusionCounts
from lt_det.statistics.buckets import FrequencyBuckets


def counted(num_classes, batches, seed=0):
    """ConfusionCounts of random RoIs, and the tables (K, K) of RoIs and images and (K,) of background."""
    generator = torch.Generator().manual_seed(seed)
    loss = SimpleNamespace(predicted_classes=lambda logits: logits.argmax(dim=1))
    counts = ConfusionCounts(SimpleNamespace(num_classes=num_classes, loss=loss))
    tables = SimpleNamespace(pairs=[], images=set(), background=[])
    for number in range(batches):
        y = (num_classes * torch.rand(40, generator=generator) ** 2).long()
        logits = torch.randn(40, num_classes + 1, generator=generator)
        logits[torch.arange(40), y] += 2
        images = 2 * number + torch.arange(40) // 20
        counts.add(
            SimpleNamespace(
                foreground=torch.arange(40), labels=y, foreground_scores=logits, logits=logits, images=images
            )
        )
        pairs = list(zip(y.tolist(), logits[:, :num_classes].argmax(dim=1).tolist(), strict=True))
        tables.pairs += pairs
        tables.images |= set(zip(images.tolist(), pairs, strict=True))
        tables.background += y[logits.argmax(dim=1) == num_classes].tolist()
    return counts, tables


def buckets_of(num_classes):
    assignment = np.arange(num_classes) * 3 // num_classes
    return FrequencyBuckets(("rare", "common", "frequent"), assignment)


@pytest.mark.parametrize("num_classes", [5, 9, 700])
def test_confusion_is_that_of_the_table_of_all_pairs(num_classes):
    counts, tables = counted(num_classes, 30)
    buckets = buckets_of(num_classes)
    found = counts.result(buckets)
    rois = np.zeros((num_classes, num_classes))
    np.add.at(rois, tuple(np.array(tables.pairs).T), 1)
    totals = rois.sum(axis=1)
    fractions = rois / np.maximum(totals, 1)[:, None]
    for bucket, name in enumerate(buckets.names):
        members = np.flatnonzero((buckets.assignment == bucket) & (totals > 0))
        group = found.groups[name]
        assert group.classes == len(members)
        assert group.correct == fractions[members, members].mean()
        wrong = fractions * ~np.eye(num_classes, dtype=bool)
        for other, taken_by in enumerate(buckets.names):
            taken = wrong[np.ix_(members, buckets.assignment == other)].sum(axis=1).mean()
            assert group.taken_by[taken_by] == pytest.approx(taken, rel=1e-14, abs=1e-15)
        background = np.bincount(tables.background, minlength=num_classes)
        assert group.background == (background[members] / totals[members]).mean()
    assert found.pairs or num_classes == 700
    gains = [fractions[one.true, one.predicted] - fractions[one.predicted, one.true] for one in found.pairs]
    assert gains == sorted(gains, reverse=True)
    for one in found.pairs:
        pair = (one.true, one.predicted)
        assert one.rois == rois[pair]
        assert one.images == sum(other == pair for _, other in tables.images)
        assert (one.fraction, one.reverse or 0.0) == (fractions[pair], fractions[pair[::-1]])
        assert totals[one.true] >= 5
        assert buckets.assignment[one.true] != buckets.assignment[one.predicted]


def test_memory_does_not_grow_with_the_square_of_the_classes():
    tracemalloc.start()
    counts, _ = counted(13_204, 2)
    found = counts.result(buckets_of(13_204))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(group.classes for group in found.groups.values()) > 50
    assert peak < 100e6  # a table of all pairs takes 1.4 GB
