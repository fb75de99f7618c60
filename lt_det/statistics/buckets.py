"""Frequency buckets: a partition of the classes by how often they occur in training."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import ClassStats, CountBy

LVIS_EDGES = (10, 100)  # training images: rare up to the first, common up to the second, frequent above
UNSEEN = "unseen"  # the bucket of classes that training never saw

_SHORT = {"rare": "r", "common": "c", "frequent": "f"}


@dataclass(frozen=True, eq=False)
class FrequencyBuckets:
    """A partition of the classes by how often they occur in training.

    Attributes:
        names: B bucket names, from seldom to often.
        assignment: (K,) int64, the bucket of each class; -1 for a class in none.
        by: what was counted.
        edges: upper edges, inclusive, of all but the last bucket (and "unseen"), where the buckets come from edges.
    """

    names: tuple[str, ...]
    assignment: NDArray[np.int64]
    by: CountBy = "images"
    edges: tuple[int, ...] | None = field(default=None)

    @classmethod
    def from_edges(
        cls,
        stats: ClassStats,
        edges: Sequence[int] = LVIS_EDGES,
        names: Sequence[str] | None = None,
        by: CountBy = "images",
    ) -> FrequencyBuckets:
        """Buckets with inclusive upper `edges`; the default is LVIS: rare 1-10 images, common 11-100, frequent above.

        Classes that training never saw form a bucket of their own, "unseen", before the others, where there are any
        and no edge is 0.

        Raises:
            LtDetError: edges that do not rise, or names that do not fit them.
        """
        numbers = all(isinstance(edge, int) and edge >= 0 for edge in edges)
        if not numbers or any(high <= low for low, high in itertools.pairwise(edges)):
            raise LtDetError(f"Bucket edges must be rising counts, but are {list(edges)}; write for example [10, 100].")
        if names is None:
            names = ("rare", "common", "frequent") if len(edges) == 2 else _range_names(edges)
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
                    f"The bucket name '{UNSEEN}' is that of classes without training {by}; choose another."
                )
            names, assignment = (UNSEEN, *names), np.where(unseen, 0, assignment + 1)
        return cls(tuple(names), assignment, by, tuple(int(edge) for edge in edges))

    @classmethod
    def equal_groups(cls, stats: ClassStats, groups: int, by: CountBy = "images") -> FrequencyBuckets:
        """`groups` buckets of (nearly) equally many classes, sorted by count; ties go by class index.

        Classes that training never saw form a bucket of their own, "unseen", before the others, where there are any.

        Raises:
            LtDetError: fewer than one or more groups than classes that training saw.
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
            LtDetError: a class that the statistics do not know.
        """
        if not isinstance(bucket_of, Mapping) or not all(isinstance(bucket, str) for bucket in bucket_of.values()):
            raise LtDetError("A bucket map is an object {class name: bucket name}; write it like that.")
        index = {name: k for k, name in enumerate(stats.names)}
        names = tuple(dict.fromkeys(bucket_of.values()))
        assignment = np.full(stats.num_classes, -1, dtype=np.int64)
        for name, bucket in bucket_of.items():
            if name not in index:
                raise LtDetError(
                    f"The bucket map names a class '{name}' that {stats.source} does not have; correct it."
                )
            assignment[index[name]] = names.index(bucket)
        return cls(names, assignment)

    @classmethod
    def chosen(
        cls,
        stats: ClassStats,
        *,
        by: CountBy = "images",
        edges: Sequence[int] = LVIS_EDGES,
        names: Sequence[str] | None = None,
        groups: int | None = None,
        map_file: str | os.PathLike[str] | None = None,
    ) -> FrequencyBuckets:
        """What a user asked for: a map, else groups, else edges.

        Args:
            by, edges, names: see `from_edges`.
            groups: see `equal_groups`.
            map_file: a json of what `from_map` takes.

        Raises:
            LtDetError: choices that make no buckets, or a map that cannot be read.
        """
        if map_file is not None:
            from lt_det.io.coco_json import read_json  # needs msgspec, which a loss does without

            return cls.from_map(stats, read_json(map_file, "bucket map"))
        if groups is not None:
            return cls.equal_groups(stats, groups, by)
        return cls.from_edges(stats, edges, names, by)

    def members(self, bucket: int) -> NDArray[np.int64]:
        """Class indices of a bucket, rising."""
        return np.flatnonzero(self.assignment == bucket)

    def sizes(self) -> list[int]:
        """Number of classes per bucket."""
        return [len(self.members(bucket)) for bucket in range(len(self.names))]


def _range_names(edges: Sequence[int]) -> list[str]:
    lows = [0, *(edge + 1 for edge in edges)]
    return [f"{low}-{high}" for low, high in zip(lows, edges, strict=False)] + [f">{edges[-1]}" if edges else "all"]


def metric_name(bucket: str, metric: str = "AP") -> str:
    """LVIS's short names for its three buckets, as APr; ``AP-<name>`` for any other."""
    return f"{metric}{_SHORT[bucket]}" if bucket in _SHORT else f"{metric}-{bucket}"
