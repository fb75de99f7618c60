"""How far AP would move on other images of the same kind: the bootstrap over images.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13.

Images are drawn with replacement, as many as there are, without strata: the classes of an LVIS image cannot be kept
apart, and a stratum of a class with one image would never vary. A class whose images are not drawn leaves the mean of
that draw, as a class without ground truth does. Every evaluation of the same images draws the same ones, so that the
differences of two runs' draws are those of a paired comparison.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation._arrays import run_starts
from lt_det.evaluation.matching.assignment import hits
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.average_precision import in_class_order, limited, objects_to_find
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import IOU_THRESHOLDS, RECALL_THRESHOLDS, Protocol
from lt_det.statistics.buckets import FrequencyBuckets, metric_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SEED = 0
FEWEST_DRAWS, MOST_DRAWS = 100, 100_000
_FEWEST_IMAGES = 5  # with an object of the bucket: with fewer, most draws hold the same ones

# Whether a recall of exactly r/100, as a float, misses the threshold that stands for it.
_MISSED = np.arange(101) / 100 < RECALL_THRESHOLDS


def fingerprint(truth: GroundTruth, protocol: Protocol) -> str:
    """Of what is drawn from: two evaluations can be paired where it is the same."""
    digest = hashlib.sha1(protocol.name.encode(), usedforsecurity=False)
    objects = (truth.start, truth.classes, truth.boxes, truth.areas, truth.ignore, truth.crowd)
    lists = [array for of in (truth.negative, truth.not_exhaustive) for array in (of.start, of.values)]
    for array in (truth.image_ids, truth.category_ids, *objects, *lists):
        # Ids beyond 64 bits are objects, whose bytes are addresses.
        digest.update(np.ascontiguousarray(array.astype(str) if array.dtype == object else array).tobytes())
    return digest.hexdigest()


def check_draws(draws: int, key: str) -> None:
    """Raise LtDetError unless so many draws make an interval; 0 is for none. `key` is what the user wrote them for."""
    if draws and not FEWEST_DRAWS <= draws <= MOST_DRAWS:
        raise LtDetError(
            f"{key} is {draws}; write a number of draws from {FEWEST_DRAWS} to {MOST_DRAWS}, such as 1000, or 0 for no "
            "intervals."
        )


def bootstrap(
    truth: GroundTruth,
    matches: Matches,
    protocol: Protocol,
    buckets: FrequencyBuckets,
    draws: int,
    track: Track = iter,
) -> dict[str, Floats]:
    """AP, AP50, AP75 and the AP of each bucket, in percent, of `draws` sets of resampled images.

    Args:
        truth: of all images.
        matches: of all detections.
        protocol: its limits are applied here.
        buckets: of the same K classes.
        draws: B.
        track: wraps the loop, to show its progress.

    Returns:
        (B,) per metric; nan where a draw has no object of the bucket, and in all draws if fewer than five images do.
    """
    curves = Curves.of(truth, matches, protocol)
    num_images = len(truth.image_ids)
    generator = np.random.default_rng(SEED)
    members = {metric_name(name): buckets.members(bucket) for bucket, name in enumerate(buckets.names)}
    varying = {
        name: classes
        for name, classes in members.items()
        if len(np.unique(curves.object_image[np.isin(curves.object_class, classes)])) >= _FEWEST_IMAGES
    }
    values = {name: np.full(draws, np.nan) for name in ("AP", "AP50", "AP75", *members)}
    for draw in track(range(draws)):
        times = np.bincount(generator.integers(num_images, size=num_images), minlength=num_images)
        ap, known = curves.average_precision(times)
        mean = ap.mean(axis=0)
        values["AP"][draw] = _mean(mean[known])
        values["AP50"][draw], values["AP75"][draw] = _mean(ap[0, known]), _mean(ap[5, known])
        for name, classes in varying.items():
            values[name][draw] = _mean(mean[classes][known[classes]])
    return values


def _mean(values: Floats) -> float:
    return float(values.mean()) * 100 if len(values) else np.nan


@dataclass(frozen=True, eq=False)
class Curves:
    """All precision-recall curves of the area range "all", reduced to what the number of times an image counts changes.

    A curve is that of one threshold and class. H hits are the matched detections by curve and falling score; U
    detections that are wrong if unmatched stand by class and falling score. Places are int64, by which NumPy gathers
    fastest; counts are int32.

    Attributes:
        image: (H,).
        right, saved: (H,) 1 or 0: it is right; it would be wrong if it were not matched.
        wrong_until: (H,) place among the U of the first after the hit.
        wrong_image: (U,).
        curve: (C,) threshold * K + class of the curves that have a hit, rising.
        start, of_hit: (C,) first hit of each, and (H,) place of each hit's curve among the C.
        wrong_before: (C,) place among the U of the first of its class.
        object_class, object_image: (G,) of the objects that count.
        num_classes: K.
    """

    image: Ints
    right: NDArray[np.int32]
    saved: NDArray[np.int32]
    wrong_until: Ints
    wrong_image: Ints
    curve: Ints
    start: Ints
    of_hit: Ints
    wrong_before: Ints
    object_class: Ints
    object_image: Ints
    num_classes: int

    @classmethod
    def of(cls, truth: GroundTruth, matches: Matches, protocol: Protocol) -> Curves:
        matches = limited(matches, protocol)
        order, (place, which) = in_class_order(matches)
        classes = matches.classes[order]
        wrong = matches.wrong_if_unmatched[order, 0]
        wrong_until = np.cumsum(wrong)
        wrong_before = np.concatenate([[0], wrong_until])[np.searchsorted(classes, np.arange(truth.num_classes))]
        columns = []
        bits = matches.matched[which], matches.neutral[which]
        for threshold in range(len(IOU_THRESHOLDS)):
            matched, right = hits(*bits, threshold, 0)
            at = place[matched]
            curve = threshold * truth.num_classes + classes[at].astype(np.int64)
            columns.append((matches.images[order[at]], right, wrong[at], wrong_until[at], curve))
        image, right, saved, until, curve = (np.concatenate(column) for column in zip(*columns, strict=True))
        start = run_starts(curve)
        object_class, object_image = objects_to_find(truth, protocol)
        return cls(
            image.astype(np.int64),
            right.astype(np.int32),
            saved.astype(np.int32),
            until,
            matches.images[order[wrong]].astype(np.int64),
            curve[start],
            start,
            np.repeat(np.arange(len(start)), np.diff(np.append(start, len(curve)))),
            wrong_before[curve[start] % truth.num_classes],
            object_class,
            object_image,
            truth.num_classes,
        )

    def average_precision(self, times: Ints) -> tuple[Floats, NDArray[np.bool_]]:
        """AP (T, K) as a share of 1, and (K,) whether a class has an object, where image i counts times[i] times."""
        objects = np.bincount(self.object_class, times[self.object_image], self.num_classes)
        ap = np.zeros(len(IOU_THRESHOLDS) * self.num_classes)
        if len(self.image):
            counts = times.astype(np.int32)
            weight = counts.take(self.image)
            wrong = np.zeros(len(self.wrong_image) + 1, dtype=np.int32)
            np.cumsum(counts.take(self.wrong_image), out=wrong[1:])
            true, _ = self._running(weight * self.right)
            saved, saved_before = self._running(weight * self.saved, rebase=False)
            base = wrong[self.wrong_before] - saved_before
            false = wrong.take(self.wrong_until) - saved - base.take(self.of_hit)
            envelope = self._envelope(true / np.maximum(true + false, 1).astype(np.float64))
            reached = _recalls_reached(true, np.maximum(objects, 1)[self.curve % self.num_classes].take(self.of_hit))
            gained = np.diff(reached, prepend=0)
            gained[self.start] = reached[self.start]
            ap[self.curve] = np.bincount(self.of_hit, envelope * gained) / len(RECALL_THRESHOLDS)
        return ap.reshape(len(IOU_THRESHOLDS), self.num_classes), objects > 0

    def _running(self, values: NDArray[np.int32], rebase: bool = True) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(H,) running sum, inside each curve or over all of them, and (C,) the sum over all before each curve."""
        total = np.cumsum(values, dtype=np.int32)
        before = total[self.start] - values[self.start]
        return (total - before.take(self.of_hit) if rebase else total), before

    def _envelope(self, precision: Floats) -> Floats:
        """(H,) the highest precision from here to the end of the curve."""
        step = 2.0 * (len(self.curve) - self.of_hit)  # keeps the values of a curve above those of the next
        return np.maximum.accumulate((precision + step)[::-1])[::-1] - step


def _recalls_reached(true: NDArray[np.int32], objects: Floats) -> NDArray[np.int32]:
    """How many of the 101 recall thresholds so many right ones reach; none reach none."""
    hundredths = 100.0 * true / objects
    whole = hundredths.astype(np.int32)
    reached = whole + np.int32(1)
    exact = np.flatnonzero(hundredths == whole)
    reached[exact] -= _MISSED[whole[exact]]
    reached[exact[true[exact] == 0]] = 0
    return reached
