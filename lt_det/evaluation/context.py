"""The input that all metrics of one evaluation share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lt_det.evaluation._arrays import Bools, Ints
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.protocols import Protocol, out_of_range
from lt_det.statistics.buckets import FrequencyBuckets

NO_BUCKETS = FrequencyBuckets((), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class EvaluationContext:
    """Ground truth, protocol and buckets of one evaluation, and what is derived from them.

    Attributes:
        ground_truth: all images of the set, including those without objects or detections.
        protocol: decides which objects and detections count.
        buckets: of the K classes of the ground truth.
    """

    ground_truth: GroundTruth
    protocol: Protocol
    buckets: FrequencyBuckets = field(default=NO_BUCKETS)

    @cached_property
    def objects(self) -> GroundTruth:
        """The ground truth with the G objects that the protocol knows: LVIS drops those without an area."""
        return self.ground_truth.with_area if self.protocol.federated else self.ground_truth

    @cached_property
    def to_find(self) -> Bools:
        """(G, A) whether a detector should find an object of `objects`, for each area range."""
        ignored = self.objects.ignore if self.protocol.federated else self.objects.crowd
        return ~(out_of_range(self.objects.areas) | ignored[:, None])

    @cached_property
    def num_objects(self) -> Ints:
        """(K, A) objects to find per class and area range."""
        columns = [np.bincount(self.objects.classes[column], minlength=self.num_classes) for column in self.to_find.T]
        return np.stack(columns, axis=1).astype(np.int64)

    @property
    def num_classes(self) -> int:
        return self.ground_truth.num_classes

    @property
    def num_images(self) -> int:
        return len(self.ground_truth.image_ids)
