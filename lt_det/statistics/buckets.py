"""Frequency buckets: a partition of the classes by how often they occur in training.

`resolve_buckets` answers "which buckets?" for training, evaluation, doctor and the command line alike.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import ClassStats, CountBy

LVIS_EDGES = (10, 100)  # training images: rare up to the first, common up to the second, frequent above
UNSEEN = "unseen"  # the bucket of classes without training samples

_LVIS_NAMES = ("rare", "common", "frequent")
_LVIS_FREQUENCIES = {"r": 0, "c": 1, "f": 2}  # the `frequency` field of an LVIS category
_SHORT = {"rare": "r", "common": "c", "frequent": "f"}


@dataclass(frozen=True, eq=False)
class FrequencyBuckets:
    """A partition of the classes by how often they occur in training.

    Attributes:
        names: B bucket names, from rare to frequent.
        assignment: (K,) int64, the bucket of each class; -1 for a class without one.
        by: what was counted.
        edges: inclusive upper edges of all buckets but the last (and "unseen"); None unless edges made the buckets.
    """

    names: tuple[str, ...]
    assignment: NDArray[np.int64]
    by: CountBy = "images"
    edges: tuple[int, ...] | None = None

    @classmethod
    def from_edges(
        cls,
        stats: ClassStats,
        edges: Sequence[int] = LVIS_EDGES,
        names: Sequence[str] | None = None,
        by: CountBy = "images",
    ) -> FrequencyBuckets:
        """Buckets with inclusive upper `edges`; the default is LVIS: rare 1-10 images, common 11-100, frequent above.

        Classes without training samples form an extra first bucket, "unseen", unless the first edge is 0.

        Raises:
            LtDetError: the edges do not ascend, or the names do not fit them.
        """
        numbers = all(isinstance(edge, int) and edge >= 0 for edge in edges)
        if not numbers or any(high <= low for low, high in itertools.pairwise(edges)):
            raise LtDetError(
                f"Bucket edges must be whole numbers in ascending order, but are {list(edges)}; write for example "
                "[10, 100]."
            )
        if names is None:
            names = _LVIS_NAMES if len(edges) == 2 else _range_names(edges)
        if len(set(names)) != len(names):
            raise LtDetError(f"Bucket names must differ, but are {list(names)}.")
        if len(names) != len(edges) + 1:
            raise LtDetError(
                f"{len(edges)} bucket edges make {len(edges) + 1} buckets, but {len(names)} names are given."
            )
        assignment = np.searchsorted(np.asarray(edges), stats.counts(by), side="left").astype(np.int64)
        if edges and edges[0] > 0 and (unseen := stats.counts(by) == 0).any():
            if UNSEEN in names:
                raise LtDetError(
                    f"The bucket name '{UNSEEN}' is reserved for classes without training {by}; choose another."
                )
            names, assignment = (UNSEEN, *names), np.where(unseen, 0, assignment + 1)
        return cls(tuple(names), assignment, by, tuple(int(edge) for edge in edges))

    @classmethod
    def equal_groups(cls, stats: ClassStats, groups: int, by: CountBy = "images") -> FrequencyBuckets:
        """`groups` buckets of (nearly) equally many classes, sorted by count; ties are sorted by class index.

        Classes without training samples form an extra first bucket, "unseen".

        Raises:
            LtDetError: `groups` is less than one, or more than the classes with training samples.
        """
        counts = stats.counts(by)
        order = np.argsort(counts, kind="stable")
        unseen, seen = np.split(order, [int((counts == 0).sum())])
        if not 1 <= groups <= len(seen):
            raise LtDetError(
                f"Cannot split the {len(seen)} classes with training {by} in {stats.source} into {groups} groups; "
                f"write a number from 1 to {len(seen)}."
            )
        names = [f"group{group}" for group in range(groups)]
        parts = np.array_split(seen, groups)
        if len(unseen):
            names, parts = [UNSEEN, *names], [unseen, *parts]
        assignment = np.empty(stats.num_classes, dtype=np.int64)
        for bucket, members in enumerate(parts):
            assignment[members] = bucket
        return cls(tuple(names), assignment, by)

    @classmethod
    def from_map(cls, stats: ClassStats, bucket_of: Mapping[str, str]) -> FrequencyBuckets:
        """Buckets by name: `bucket_of` maps class name to bucket name, buckets in order of first appearance.

        Raises:
            LtDetError: `bucket_of` is not such a mapping, or has a class that the statistics do not have.
        """
        return cls._from_map(stats.names, bucket_of, stats.source)

    @classmethod
    def _from_map(cls, class_names: Sequence[str], bucket_of: Any, source: str) -> FrequencyBuckets:
        if not isinstance(bucket_of, Mapping) or not all(isinstance(bucket, str) for bucket in bucket_of.values()):
            raise LtDetError("A bucket map is an object {class name: bucket name}; write it like that.")
        index = {name: k for k, name in enumerate(class_names)}
        names = tuple(dict.fromkeys(bucket_of.values()))
        assignment = np.full(len(class_names), -1, dtype=np.int64)
        for name, bucket in bucket_of.items():
            if name not in index:
                raise LtDetError(f"The bucket map has a class '{name}' that {source} does not have; correct it.")
            assignment[index[name]] = names.index(bucket)
        return cls(names, assignment)

    def members(self, bucket: int) -> NDArray[np.int64]:
        """Class indices of a bucket, ascending."""
        return np.flatnonzero(self.assignment == bucket)

    def sizes(self) -> list[int]:
        """Number of classes per bucket."""
        return [len(self.members(bucket)) for bucket in range(len(self.names))]


@dataclass(frozen=True)
class BucketOptions:
    """Buckets that a user asks for: a map, else equal groups, else edges.

    Attributes:
        by, edges, names: see `FrequencyBuckets.from_edges`.
        groups: see `FrequencyBuckets.equal_groups`.
        bucket_map: {class name: bucket name}, or a json file that holds it.
    """

    by: CountBy = "images"
    edges: Sequence[int] = LVIS_EDGES
    names: Sequence[str] | None = None
    groups: int | None = None
    bucket_map: Mapping[str, str] | str | os.PathLike[str] | None = None


def resolve_buckets(
    options: BucketOptions | None,
    stats: ClassStats | None,
    categories: Sequence[Mapping[str, Any]] = (),
) -> FrequencyBuckets:
    """The buckets of the classes, from what the user asks for, the training counts and the annotation file.

    Without options, an LVIS file's own ``frequency`` field decides where every category has it, else LVIS's edges over
    the training counts. Without either, classes whose category has no ``frequency`` are in no bucket.

    Args:
        options: what the user asks for; None for the default.
        stats: counts of the TRAINING set; None if they are not known.
        categories: of the annotation file to evaluate on, in class order; may be empty where `stats` are known.

    Raises:
        LtDetError: the options make no buckets, need counts that are not known, or name a file that cannot be read.
    """
    if options is None:
        assignment = [_LVIS_FREQUENCIES.get(str(category.get("frequency")), -1) for category in categories]
        if stats is not None and (-1 in assignment or not assignment):
            return FrequencyBuckets.from_edges(stats)
        return FrequencyBuckets(_LVIS_NAMES, np.asarray(assignment, dtype=np.int64), edges=LVIS_EDGES)
    if options.bucket_map is not None:
        bucket_of = options.bucket_map
        if isinstance(bucket_of, str | os.PathLike):
            from lt_det.io.coco_json import read_json  # needs msgspec, which a loss with counts in memory does not

            bucket_of = read_json(bucket_of, "bucket map")
        if stats is not None:
            return FrequencyBuckets.from_map(stats, bucket_of)
        names = [str(category["name"]) for category in categories]
        return FrequencyBuckets._from_map(names, bucket_of, "the annotation file")
    if stats is None:
        raise LtDetError(
            "Buckets by edges or groups divide the classes by their training counts; name the training set."
        )
    if options.groups is not None:
        return FrequencyBuckets.equal_groups(stats, options.groups, options.by)
    return FrequencyBuckets.from_edges(stats, options.edges, options.names, options.by)


def _range_names(edges: Sequence[int]) -> list[str]:
    lows = [0, *(edge + 1 for edge in edges)]
    return [f"{low}-{high}" for low, high in zip(lows, edges, strict=False)] + [f">{edges[-1]}" if edges else "all"]


def metric_name(bucket: str, metric: str = "AP") -> str:
    """LVIS's short names for its three buckets, such as APr; ``AP-<name>`` for any other."""
    return f"{metric}{_SHORT[bucket]}" if bucket in _SHORT else f"{metric}-{bucket}"
