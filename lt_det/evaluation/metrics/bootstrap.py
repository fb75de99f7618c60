"""How much AP would vary on other images of the same kind: the bootstrap over images.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13.

Images are drawn with replacement, as many as there are, without strata: an LVIS image has many classes and fits no
single stratum, and a stratum of a class with one image would never vary. A class whose images are not drawn is left out
of the mean of that draw, like a class without ground truth. Every evaluation of the same images uses the same draws, so
that the differences of two evaluations' draws make a paired comparison.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation._arrays import Bools, Floats, Ints, group_starts
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.assignment import matched_at
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.average_precision import in_class_order
from lt_det.evaluation.metrics.interpolation import descending_envelope, num_recalls_reached
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import IOU_THRESHOLDS, RECALL_THRESHOLDS
from lt_det.statistics.buckets import metric_name

SEED = 0
MIN_DRAWS, MAX_DRAWS = 100, 100_000
_MIN_IMAGES = 5  # with an object of the bucket: with fewer, most draws contain the same ones


def fingerprint(context: EvaluationContext) -> str:
    """Hash of the images, their ground truth and the protocol: evaluations with the same one can be paired."""
    truth = context.ground_truth
    protocol = context.protocol
    name = f"{protocol.name} {protocol.max_dets}" if protocol.is_changed else protocol.name
    digest = hashlib.sha1(name.encode(), usedforsecurity=False)
    objects = (truth.start, truth.classes, truth.boxes, truth.areas, truth.ignore, truth.crowd)
    lists = [array for lists in (truth.negative, truth.not_exhaustive) for array in (lists.start, lists.values)]
    for array in (truth.image_ids, truth.category_ids, *objects, *lists):
        # Ids that do not fit into 64 bits are objects, whose bytes are addresses.
        digest.update(np.ascontiguousarray(array.astype(str) if array.dtype == object else array).tobytes())
    return digest.hexdigest()


def check_draws(draws: int, key: str) -> None:
    """Raise LtDetError unless the number of draws is 0 (no intervals) or enough for an interval.

    Args:
        draws: number of draws.
        key: the option or config key that it comes from, for the message.
    """
    if not isinstance(draws, Integral) or (draws and not MIN_DRAWS <= draws <= MAX_DRAWS):
        raise LtDetError(
            f"{key} is {draws}; write a number of draws from {MIN_DRAWS} to {MAX_DRAWS}, such as 1000, or 0 for no "
            "intervals."
        )


def bootstrap(context: EvaluationContext, matches: Matches, draws: int, track: Track = iter) -> dict[str, Floats]:
    """AP, AP50, AP75 and the AP of each bucket, in percent, on `draws` sets of resampled images.

    Args:
        context: of all images.
        matches: of all detections within the protocol's limits.
        draws: B.
        track: wraps the loop, to show its progress.

    Returns:
        (B,) per metric; nan where a draw has no object of the bucket, and in all draws if fewer than five images have
        one.
    """
    curves = BootstrapCurves.from_matches(context, matches)
    buckets, num_images = context.buckets, context.num_images
    generator = np.random.default_rng(SEED)
    members = {metric_name(name): buckets.members(bucket) for bucket, name in enumerate(buckets.names)}
    varying = {
        name: classes
        for name, classes in members.items()
        if len(np.unique(curves.object_image[np.isin(curves.object_class, classes)])) >= _MIN_IMAGES
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
class BootstrapCurves:
    """The precision-recall curves of all areas, reduced to what changes with the number of times an image is drawn.

    There is a curve for each threshold and class. The H hits are the matched detections, by curve and descending score;
    the U detections that are false positives if unmatched are sorted by class and descending score. Indices are int64,
    with which NumPy gathers fastest; counts are int32.

    Attributes:
        image: (H,).
        is_tp, is_spared: (H,) 1 or 0: the hit is a true positive; it would be a false positive if it were unmatched.
        fp_until: (H,) index among the U of the first one after the hit.
        fp_image: (U,).
        curve: (C,) threshold * K + class of the curves with a hit, ascending.
        start, curve_of_hit: (C,) first hit of each curve, and (H,) index among the C of each hit's curve.
        fp_before: (C,) index among the U of the first one of the curve's class.
        object_class, object_image: (G,) of the objects to find.
        num_classes: K.
    """

    image: Ints
    is_tp: NDArray[np.int32]
    is_spared: NDArray[np.int32]
    fp_until: Ints
    fp_image: Ints
    curve: Ints
    start: Ints
    curve_of_hit: Ints
    fp_before: Ints
    object_class: Ints
    object_image: Ints
    num_classes: int

    @classmethod
    def from_matches(cls, context: EvaluationContext, matches: Matches) -> BootstrapCurves:
        """
        Args:
            context: of all images.
            matches: of all detections within the protocol's limits.
        """
        num_classes = context.num_classes
        order, (position, overlapping) = in_class_order(matches)
        classes = matches.classes[order]
        fp_if_unmatched = matches.fp_if_unmatched[order, 0]
        fp_until = np.cumsum(fp_if_unmatched)
        fp_before = np.concatenate([[0], fp_until])[np.searchsorted(classes, np.arange(num_classes))]
        columns = []
        bits = matches.matched[overlapping], matches.ignored[overlapping]
        for threshold in range(len(IOU_THRESHOLDS)):
            index, is_tp = matched_at(*bits, threshold, 0)
            hit = position[index]
            curve = threshold * num_classes + classes[hit].astype(np.int64)
            columns.append((matches.images[order[hit]], is_tp, fp_if_unmatched[hit], fp_until[hit], curve))
        image, is_tp, is_spared, until, curve = (np.concatenate(column) for column in zip(*columns, strict=True))
        start = group_starts(curve)
        to_find = context.to_find[:, 0]
        image_of_object = np.repeat(np.arange(context.num_images), np.diff(context.objects.start))
        return cls(
            image.astype(np.int64),
            is_tp.astype(np.int32),
            is_spared.astype(np.int32),
            until,
            matches.images[order[fp_if_unmatched]].astype(np.int64),
            curve[start],
            start,
            np.repeat(np.arange(len(start)), np.diff(np.append(start, len(curve)))),
            fp_before[curve[start] % num_classes],
            context.objects.classes[to_find],
            image_of_object[to_find],
            num_classes,
        )

    def average_precision(self, times: Ints) -> tuple[Floats, Bools]:
        """
        Args:
            times: (I,) how many times each image is drawn.

        Returns:
            AP (T, K) as a fraction of 1, and (K,) whether a class has an object.
        """
        num_objects = np.bincount(self.object_class, times[self.object_image], self.num_classes)
        ap = np.zeros(len(IOU_THRESHOLDS) * self.num_classes)
        if len(self.image):
            counts = times.astype(np.int32)
            weight = counts.take(self.image)
            total_fp = np.zeros(len(self.fp_image) + 1, dtype=np.int32)
            np.cumsum(counts.take(self.fp_image), out=total_fp[1:])
            tp, _ = self._running(weight * self.is_tp)
            spared, spared_before = self._running(weight * self.is_spared, rebase=False)
            base = total_fp[self.fp_before] - spared_before
            fp = total_fp.take(self.fp_until) - spared - base.take(self.curve_of_hit)
            precision = tp / np.maximum(tp + fp, 1).astype(np.float64)
            envelope = descending_envelope(precision, self.curve_of_hit, len(self.curve))
            of_curve = np.maximum(num_objects, 1)[self.curve % self.num_classes]
            reached = num_recalls_reached(tp, of_curve.take(self.curve_of_hit))
            gained = np.diff(reached, prepend=0)
            gained[self.start] = reached[self.start]
            ap[self.curve] = np.bincount(self.curve_of_hit, envelope * gained) / len(RECALL_THRESHOLDS)
        return ap.reshape(len(IOU_THRESHOLDS), self.num_classes), num_objects > 0

    def _running(self, values: NDArray[np.int32], rebase: bool = True) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(H,) running sum within each curve or over all of them, and (C,) the sum over all before each curve."""
        total = np.cumsum(values, dtype=np.int32)
        before = total[self.start] - values[self.start]
        return (total - before.take(self.curve_of_hit) if rebase else total), before
