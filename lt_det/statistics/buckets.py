"""Frequency buckets: groups of classes by their frequency in training.

Training, evaluation, doctor and the command line all choose the buckets with `resolve_buckets`.
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
from lt_det.terminal import count_of

LVIS_EDGES = (10, 100)  # training images: a class is rare up to the first edge, common up to the second, frequent above
UNSEEN = "unseen"  # name of the bucket of classes without training samples

_LVIS_NAMES = ("rare", "common", "frequent")
_LVIS_FREQUENCIES = {"r": 0, "c": 1, "f": 2}  # values of the `frequency` field of an LVIS category
_SHORT = {"rare": "r", "common": "c", "frequent": "f"}


@dataclass(frozen=True, eq=False)
class FrequencyBuckets:
    """Groups of classes by their frequency in training.

    Attributes:
        names: B bucket names, from rare to frequent.
        assignment: (K,) int64, the index of the bucket of each class; -1 for a class in no bucket.
        by: whether "images" or "instances" were counted.
        edges: inclusive upper edges of all buckets except the last one and "unseen"; None if the buckets were not made
            from edges.
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
        """Make buckets from edges. The default is LVIS's: rare 1-10 images, common 11-100, frequent above.

        Classes without training samples form an additional first bucket, "unseen", unless the first edge is 0.

        Args:
            stats: class counts of the training set.
            edges: inclusive upper edges in ascending order, for all buckets except the last.
            names: one name more than there are edges; None for rare, common and frequent with two edges, else the
                ranges.
            by: count "images" or "instances".

        Raises:
            LtDetError: the edges are not ascending whole numbers, the names do not fit them, or instance counts are not
                known.
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
                f"{count_of(len(edges), 'bucket edge')} for {len(edges) + 1} buckets, but "
                f"{count_of(len(names), 'name')}; give one name more than edges."
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
        """Make buckets with (nearly) the same number of classes, named group0, group1, ... from rare to frequent.

        Classes are sorted by count, and by class index if counts are equal. Classes without training samples form an
        additional first bucket, "unseen".

        Args:
            stats: class counts of the training set.
            groups: number of buckets.
            by: count "images" or "instances".

        Raises:
            LtDetError: `groups` is below 1 or above the number of classes with training samples, or instance counts are
                not known.
        """
        counts = stats.counts(by)
        order = np.argsort(counts, kind="stable")
        unseen, seen = np.split(order, [int((counts == 0).sum())])
        if not 1 <= groups <= len(seen):
            raise LtDetError(
                f"Cannot split the {count_of(len(seen), 'class')} with training {by} in {stats.source} into "
                f"{count_of(groups, 'group')}; "
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
        """Make buckets from a mapping. Classes that it does not contain are in no bucket.

        Args:
            stats: class counts of the training set; only the names are used.
            bucket_of: {class name: bucket name}; the buckets have the order in which their names first occur.

        Raises:
            LtDetError: `bucket_of` is not such a mapping, or contains an unknown class.
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
        """Indices of the classes in a bucket, in ascending order."""
        return np.flatnonzero(self.assignment == bucket)

    def sizes(self) -> list[int]:
        """Number of classes in each bucket."""
        return [len(self.members(bucket)) for bucket in range(len(self.names))]

    def filled(self) -> list[tuple[str, NDArray[np.int64]]]:
        """Name and members of each bucket that has a class; tables leave out the others."""
        of_all = [(name, self.members(bucket)) for bucket, name in enumerate(self.names)]
        return [(name, members) for name, members in of_all if len(members)]


@dataclass(frozen=True)
class BucketOptions:
    """The buckets that a user asks for. A map takes precedence over groups, and groups over edges.

    Attributes:
        by: count "images" or "instances".
        edges, names: see `FrequencyBuckets.from_edges`.
        groups: number of buckets with the same number of classes, see `FrequencyBuckets.equal_groups`; None for edges.
        bucket_map: {class name: bucket name}, or the path of a json file with this mapping; None for groups or edges.
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
    """Choose the buckets from the user's options, the training counts and the annotation file.

    Without options, the ``frequency`` field of the categories defines the buckets if every category has it, as in
    LVIS; else LVIS's edges are applied to the training counts. Without counts, classes without ``frequency`` are in no
    bucket.

    Args:
        options: the options of the user; None for the default.
        stats: class counts of the TRAINING set; None if they are not known.
        categories: categories of the annotation file to evaluate on, in class order; they may be empty if `stats` is
            given.

    Raises:
        LtDetError: the options are invalid, need counts that are not known, or name a file that cannot be read.
    """
    if options is None:
        assignment = [_LVIS_FREQUENCIES.get(str(category.get("frequency")), -1) for category in categories]
        if stats is not None and (-1 in assignment or not assignment):
            return FrequencyBuckets.from_edges(stats)
        return FrequencyBuckets(_LVIS_NAMES, np.asarray(assignment, dtype=np.int64), edges=LVIS_EDGES)
    if options.bucket_map is not None:
        bucket_of = options.bucket_map
        if isinstance(bucket_of, str | os.PathLike):
            from lt_det.io.annotations.coco_json import (
                read_json,  # needs msgspec, which a loss with counts in memory does not
            )

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
    """The name of a bucket's metric: APr, APc and APf for LVIS's buckets, ``AP-<name>`` for any other."""
    return f"{metric}{_SHORT[bucket]}" if bucket in _SHORT else f"{metric}-{bucket}"
