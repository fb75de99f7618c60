"""Class counts of a training set."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.io.atomic import write_atomically
from lt_det.statistics.counting import ClassCounter
from lt_det.statistics.saved_counts import VERSION, read_saved_counts
from lt_det.terminal import count_of

CountBy = Literal["images", "instances"]

# Images with at least one annotation in the LVIS v1 training set, whose counts Detectron2's metadata hold.
LVIS_V1_ANNOTATED_IMAGES = 99388

_NAMES_SHOWN = 10


@dataclass(frozen=True, eq=False)
class ClassStats:
    """Class counts of a training set, in the order of the contiguous class indices 0..K-1.

    Attributes:
        names: K class names.
        image_counts: (K,) int64, number of images with at least one instance of each class.
        instance_counts: (K,) int64, number of annotated instances of each class; None if only image counts are known.
        num_images: number of images with at least one annotation.
        source: the file or dataset that the counts come from, for error messages.
        fingerprint: identifies the state of the counted files, so that a cache can detect that it is out of date.

    Raises:
        LtDetError: there are not K counts, or a count is negative.
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
                raise LtDetError(
                    f"{self.source} must have one count, 0 or more, for each of its {len(self.names)} classes."
                )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.names)

    @classmethod
    def from_annotations(cls, data: Mapping[str, Any], source: str) -> ClassStats:
        """Count the annotations of a COCO- or LVIS-format json that training sees; see `ClassCounter`.

        Args:
            data: content of the json; classes are ordered by category id. ``images`` with their width and height may be
                left out: then boxes beyond their image are counted, too.
            source: name of the json, for error messages.

        Raises:
            LtDetError: an annotation has a category that is not in ``categories``.
        """
        sized = (image for image in data.get("images", ()) if "width" in image and "height" in image)
        sizes = {image["id"]: (image["width"], image["height"]) for image in sized}
        counter = ClassCounter(data["categories"], source, sizes)
        counter.add(data["annotations"])
        return cls.from_counter(counter, source)

    @classmethod
    def from_counter(cls, counter: ClassCounter, source: str) -> ClassStats:
        """What a counter has counted; see `from_annotations`."""
        return cls(counter.names, counter.image_counts(), counter.instance_counts(), counter.num_images, source)

    @classmethod
    def from_json(
        cls, json_file: str | os.PathLike[str], image_root: Path | None = None, warn: bool = False
    ) -> ClassStats:
        """Count the annotations in a COCO- or LVIS-format json, or read counts that `save` wrote.

        Annotations are read in pieces, which takes little memory whatever the size of the file.

        Args:
            json_file: the file.
            image_root: folder in which each image of the annotations must be; None: do not look.
            warn: whether to log harmless mistakes in annotations, which concern training and not counts.

        Raises:
            LtDetError: the file cannot be read, is no such json, or its annotations or saved counts are invalid.
        """
        # Needs msgspec, which a loss with counts in memory does not.
        from lt_det.statistics.checked_counts import count_checked

        if saved := cls.read_saved(json_file):
            return saved
        return cls.from_counter(count_checked(json_file, image_root, warn), str(json_file))

    @classmethod
    def merge(cls, parts: Sequence[ClassStats]) -> ClassStats:
        """Sum the counts of several training sets with the same classes. The result has no fingerprint.

        If a set has no instance counts, the sum has none.

        Raises:
            LtDetError: the sets have different classes.
        """
        first = parts[0]
        for other in parts[1:]:
            if other.names != first.names:
                raise LtDetError(
                    f"The training sets {first.source} ({count_of(first.num_classes, 'class')}) and {other.source} "
                    f"({count_of(other.num_classes, 'class')}) have different classes; train on sets with the "
                    "same class list."
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
        """Read counts that `save` wrote. None for any other file.

        Raises:
            LtDetError: the saved counts are corrupt.
        """
        content = read_saved_counts(Path(json_file))
        if content is None:
            return None
        instances = content["instance_counts"]
        return cls(
            names=tuple(content["names"]),
            image_counts=np.asarray(content["image_counts"], dtype=np.int64),
            instance_counts=None if instances is None else np.asarray(instances, dtype=np.int64),
            num_images=content["num_images"],
            source=content["source"],
            fingerprint=content["fingerprint"],
        )

    def save(self, json_file: str | os.PathLike[str]) -> None:
        """Write the counts to a small json that `from_json` reads. An existing file is replaced atomically."""
        content = {
            "class_stats": VERSION,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "num_images": self.num_images,
            "names": list(self.names),
            "image_counts": self.image_counts.tolist(),
            "instance_counts": None if self.instance_counts is None else self.instance_counts.tolist(),
        }
        write_atomically(Path(json_file), json.dumps(content) + "\n")

    def counts(self, by: CountBy) -> NDArray[np.int64]:
        """(K,) counts of images or of instances.

        Raises:
            LtDetError: instance counts are not known.
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
        """`counts` for losses, which divide by them: counts of 0 become 1, and a warning lists their classes.

        Raises:
            LtDetError: instance counts are not known.
        """
        counts = self.counts(by)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            shown = ", ".join(self.names[k] for k in empty[:_NAMES_SHOWN])
            more = f" and {len(empty) - _NAMES_SHOWN} more" if len(empty) > _NAMES_SHOWN else ""
            fraction = f"{len(empty)} of {count_of(self.num_classes, 'class')}"
            verbs = ("has", "counts") if len(empty) == 1 else ("have", "count")
            warnings.warn(
                f"{fraction} {verbs[0]} no {by} in {self.source} and {verbs[1]} as one: {shown}{more}", stacklevel=2
            )
        return np.maximum(counts, 1)

    def check_names(self, names: Sequence[str], where: str) -> None:
        """Raise if an evaluation set does not have the training classes in the same order.

        Args:
            names: class names of the evaluation set, in class order.
            where: the file with these names, for the error message.

        Raises:
            LtDetError: the number of classes or a name differs.
        """
        if len(names) != self.num_classes:
            raise LtDetError(
                f"{where} has {count_of(len(names), 'class')}, but the training set {self.source} has "
                f"{self.num_classes}; list the training classes in the evaluation set, also those without an object."
            )
        for k, (theirs, ours) in enumerate(zip(names, self.names, strict=True)):
            if theirs != ours:
                raise LtDetError(
                    f"Class {k} is '{theirs}' in {where} but '{ours}' in the training set {self.source}; "
                    "list the same classes in both, in the same order of ids."
                )

    def check_num_classes(self, num_classes: int, key: str = "MODEL.ROI_HEADS.NUM_CLASSES") -> None:
        """Raise if the number of classes is not `num_classes`.

        Args:
            num_classes: number of classes of the network.
            key: config key that sets it.

        Raises:
            LtDetError: it differs from the number of training classes.
        """
        if num_classes != self.num_classes:
            raise LtDetError(
                f"{key} is {num_classes}, but {self.source} has {count_of(self.num_classes, 'class')}; set {key} to "
                f"{self.num_classes} or train on the matching dataset."
            )
