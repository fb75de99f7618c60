"""How often each class occurs in the training set, and the frequency buckets that follow from it."""

from __future__ import annotations

import itertools
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lt_det.annotations import load_annotations, read_json
from lt_det.errors import LtDetError
from lt_det.files import write_whole

LVIS_EDGES = (10, 100)  # training images: rare up to the first, common up to the second, frequent above
UNSEEN = "unseen"  # the bucket of classes that training never saw

_SHORT = {"rare": "r", "common": "c", "frequent": "f"}

CountBy = Literal["images", "instances"]

# Images with at least one annotation in the training sets whose json Detectron2's metadata stands for.
LVIS_V1_ANNOTATED_IMAGES = 99388

_NAMES_SHOWN = 10
_SAVED_HEAD = b'{"class_stats": 1'  # what `save` writes first


@dataclass(frozen=True, eq=False)
class ClassStats:
    """Counts of a training set, one entry per class in the order of the contiguous ids 0..K-1.

    Attributes:
        names: K class names.
        image_counts: (K,) int64, images that hold at least one instance of the class.
        instance_counts: (K,) int64, annotated instances, or None where only image counts are known.
        num_images: images with at least one annotation.
        source: the file or data set the counts come from, for error messages.
        fingerprint: state of the files that were counted, by which a cache knows that it is out of date.
    """

    names: tuple[str, ...]
    image_counts: NDArray[np.int64]
    instance_counts: NDArray[np.int64] | None
    num_images: int
    source: str
    fingerprint: str = ""

    def __post_init__(self) -> None:
        for counts in (self.image_counts, self.instance_counts):
            if counts is not None and (counts.shape != (len(self.names),) or (counts < 0).any()):
                raise LtDetError(f"{self.source}: needs one count of at least 0 for each of {len(self.names)} classes.")

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @classmethod
    def from_annotations(cls, data: Mapping[str, Any], source: str) -> ClassStats:
        """Count loaded COCO- or LVIS-format annotations. Classes are ordered by category id; crowd regions count not.

        Raises:
            LtDetError: an annotation names a category that is not listed.
        """
        categories = sorted(data["categories"], key=lambda category: category["id"])
        index = {category["id"]: k for k, category in enumerate(categories)}
        instances = np.zeros(len(categories), dtype=np.int64)
        seen: set[tuple[Any, int]] = set()
        for annotation in data["annotations"]:
            k = index.get(annotation["category_id"])
            if k is None:
                raise LtDetError(
                    f"{source}: annotation {annotation['id']} has category {annotation['category_id']}, "
                    "which is not in 'categories'; add it there or correct the id."
                )
            if annotation.get("iscrowd", 0):
                continue
            instances[k] += 1
            seen.add((annotation["image_id"], k))
        images = np.bincount([k for _, k in seen], minlength=len(categories)) if seen else np.zeros_like(instances)
        return cls(
            names=tuple(str(category["name"]) for category in categories),
            image_counts=images.astype(np.int64),
            instance_counts=instances,
            num_images=len({image for image, _ in seen}),
            source=source,
        )

    @classmethod
    def from_json(cls, json_file: str | os.PathLike[str]) -> ClassStats:
        """Count a COCO- or LVIS-format file, or read counts that `save` wrote.

        Raises:
            LtDetError: see `load_annotations`.
        """
        saved = cls.read_saved(json_file)
        return saved or cls.from_annotations(load_annotations(json_file), str(json_file))

    @classmethod
    def merge(cls, parts: Sequence[ClassStats]) -> ClassStats:
        """Sum the counts of several training sets with the same classes.

        Raises:
            LtDetError: the sets differ in their classes.
        """
        first = parts[0]
        for other in parts[1:]:
            if other.names != first.names:
                raise LtDetError(
                    f"The training sets {first.source} ({first.num_classes} classes) and {other.source} "
                    f"({other.num_classes} classes) do not have the same classes; train on sets with one class list."
                )
        if len(parts) == 1:
            return first
        known = [part.instance_counts for part in parts if part.instance_counts is not None]
        return cls(
            names=first.names,
            image_counts=np.sum([part.image_counts for part in parts], axis=0, dtype=np.int64),
            instance_counts=np.sum(known, axis=0, dtype=np.int64) if len(known) == len(parts) else None,
            num_images=sum(part.num_images for part in parts),
            source=", ".join(part.source for part in parts),
        )

    @classmethod
    def read_saved(cls, json_file: str | os.PathLike[str]) -> ClassStats | None:
        """Counts that `save` wrote, or None for any other file.

        Raises:
            LtDetError: saved counts that are damaged.
        """
        path = Path(json_file)
        try:
            with path.open("rb") as file:
                if file.read(len(_SAVED_HEAD)) != _SAVED_HEAD:
                    return None  # annotations can be gigabytes: do not parse them to find that out
            content = json.loads(path.read_text())
            instances = content["instance_counts"]
            return cls(
                names=tuple(content["names"]),
                image_counts=np.asarray(content["image_counts"], dtype=np.int64),
                instance_counts=None if instances is None else np.asarray(instances, dtype=np.int64),
                num_images=int(content["num_images"]),
                source=str(content["source"]),
                fingerprint=str(content["fingerprint"]),
            )
        except OSError:
            return None  # load_annotations says what is wrong with it
        except (KeyError, TypeError, ValueError) as error:
            raise LtDetError(f"The saved counts {path} are damaged ({error}); remove the file.") from error

    def save(self, json_file: str | os.PathLike[str]) -> None:
        """Write the counts as a small json that `from_json` reads; the file appears whole or not at all."""
        content = {
            "class_stats": 1,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "num_images": self.num_images,
            "names": list(self.names),
            "image_counts": self.image_counts.tolist(),
            "instance_counts": None if self.instance_counts is None else self.instance_counts.tolist(),
        }
        write_whole(Path(json_file), json.dumps(content) + "\n")

    def counts(self, by: CountBy) -> NDArray[np.int64]:
        """(K,) counts of images or of instances.

        Raises:
            LtDetError: instance counts are asked for and not known.
        """
        if by == "images":
            return self.image_counts
        if self.instance_counts is None:
            raise LtDetError(
                f"{self.source} has image counts only, and instance counts are needed; "
                "set MODEL.LONG_TAIL.CLASS_STATS to the training annotation json."
            )
        return self.instance_counts

    def training_counts(self, by: CountBy) -> NDArray[np.int64]:
        """`counts`, with classes that never occur counted once and named in a warning: losses divide by counts."""
        counts = self.counts(by)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            shown = ", ".join(self.names[k] for k in empty[:_NAMES_SHOWN])
            more = f" and {len(empty) - _NAMES_SHOWN} more" if len(empty) > _NAMES_SHOWN else ""
            share = f"{len(empty)} of {self.num_classes} classes"
            warnings.warn(f"{share} have no {by} in {self.source} and count as one: {shown}{more}", stacklevel=2)
        return np.maximum(counts, 1)

    def check_names(self, names: Sequence[str], where: str) -> None:
        """Raise unless a set to judge on has the classes of training, in their order.

        Args:
            names: of its classes, by rising id.
            where: they come from.

        Raises:
            LtDetError: another number of classes, or another name.
        """
        if len(names) != self.num_classes:
            raise LtDetError(
                f"{where} has {len(names)} classes, but the training set {self.source} has {self.num_classes}; "
                "judge on a set with the classes of training."
            )
        for k, (theirs, ours) in enumerate(zip(names, self.names, strict=True)):
            if theirs != ours:
                raise LtDetError(
                    f"Class {k} is '{theirs}' in {where} but '{ours}' in the training set {self.source}; "
                    "judge on a set with the class list of training, in its order of ids."
                )

    def check_num_classes(self, num_classes: int) -> None:
        """Raise unless the counts are those of `num_classes` classes."""
        if num_classes != self.num_classes:
            raise LtDetError(
                f"MODEL.ROI_HEADS.NUM_CLASSES is {num_classes}, but {self.source} has {self.num_classes} classes; "
                f"set MODEL.ROI_HEADS.NUM_CLASSES to {self.num_classes} or train on the data set that belongs to it."
            )


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
