"""What identifies the training data: resumed trainings and the processes of one training compare it.

Paths are not part of it, so that data may be moved or staged to local disks. It is computed from the records that the
training loader holds already: the ids, order and classes of all images, and boxes and masks of all images or, of a
large dataset, of some thousand.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import struct
from array import array
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, DatasetFromList, MetadataCatalog
from numpy.typing import NDArray

from lt_det.compat.detectron2 import image_source, unmapped
from lt_det.data.cache.records import Records
from lt_det.errors import LtDetError
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

_META_KEY = "meta"  # in checkpoints, of the fingerprint of the meta sets
_SAMPLED = 2000  # images whose boxes and masks are read, at least


@dataclasses.dataclass(frozen=True)
class DataFingerprint:
    """Each part is None where the loader does not know it without reading images.

    Attributes:
        classes: names in the order of the contiguous ids.
        images: number of images, after those without annotations have been left out.
        annotations: number of annotations.
        image_set: digest of the ids and file names of the images, in any order.
        order: digest of the same in their order.
        labels: digest of the classes in each image.
        shapes: digest of the annotations (boxes, masks, ...) of the images, or of a sample of them.
    """

    classes: Sequence[str] | None = None
    images: int | None = None
    annotations: int | None = None
    image_set: str | None = None
    order: str | None = None
    labels: str | None = None
    shapes: str | None = None

    @classmethod
    def of(cls, loader: Any, datasets: Sequence[str]) -> DataFingerprint:
        """
        Args:
            loader: training loader, not yet iterated, and not yet wrapped by `ImageStream`.
            datasets: names of the training sets.
        """
        classes = _class_names(datasets)
        source = image_source(loader)
        dataset: Any = None if source is None else unmapped(source.dataset)
        if isinstance(dataset, Records):
            image, label = dataset.annotated_classes()
            ids = np.asarray([_digest(_identity(*name)) for name in dataset.images()], dtype=np.uint64)
        elif (records := _listed(dataset)) is not None:
            ids = np.asarray([_digest(_identity(r.get("image_id"), r.get("file_name"))) for r in records], np.uint64)
            labels = [[_label(annotation.get("category_id")) for annotation in _annotations(r)] for r in records]
            image = np.repeat(np.arange(len(records)), [len(found) for found in labels])
            label = np.asarray([found for of_image in labels for found in of_image], dtype=np.int64)
        else:  # to look at its items would read the images
            return cls(classes)
        return cls(
            classes=classes,
            images=len(ids),
            annotations=len(label),
            image_set=_total(_mix(ids)),
            order=hashlib.blake2b(ids.tobytes(), digest_size=8).hexdigest(),
            labels=_total(_mix(_mix(ids)[image] + label.astype(np.uint64))),
            shapes=_total(_shapes(dataset, ids)),
        )

    def changed_classes(self, before: DataFingerprint) -> str:
        """How the class names differ from those `before`, as the end of a sentence; empty if they do not."""
        old, new = before.classes, self.classes
        if old is None or new is None or list(old) == list(new):
            return ""
        if len(old) != len(new):
            return f"{count_of(len(new), 'class')} instead of {len(old)}"
        place = next(index for index, (was, now) in enumerate(zip(old, new, strict=True)) if was != now)
        moved = " (the same names in another order)" if sorted(old) == sorted(new) else ""
        return f"class {place} is '{new[place]}' instead of '{old[place]}'{moved}"

    def changed_images(self, before: DataFingerprint) -> str:
        """How images and annotations differ from those `before`, as the end of a sentence; empty if they do not."""
        found = []
        if _differ(before.images, self.images):
            found.append(f"{count_of(self.images or 0, 'image')} instead of {before.images}")
        elif _differ(before.image_set, self.image_set):
            found.append(f"the same number of images, {self.images}, but different ones")
        elif _differ(before.order, self.order):
            found.append("the same images in another order")
        if _differ(before.annotations, self.annotations):
            found.append(f"{count_of(self.annotations or 0, 'annotation')} instead of {before.annotations}")
        elif not _differ(before.image_set, self.image_set):
            if _differ(before.labels, self.labels):
                found.append("annotations with other classes")
            elif _differ(before.shapes, self.shapes):
                found.append("annotations with other boxes or masks")
        return ", ".join(found)


class TrainingData:
    """Stores the fingerprints in checkpoints, and compares them when a training is resumed.

    Attributes:
        fingerprint: of the data of this training.
        meta: of the images of SECOND_STAGE.META.DATASETS (LazyConfig: dataloader.meta); None without such a set.
        is_compared: whether a checkpoint with a fingerprint has been loaded.
    """

    def __init__(self, fingerprint: DataFingerprint, meta: DataFingerprint | None = None) -> None:
        self.fingerprint, self.meta = fingerprint, meta
        self.is_compared = False

    def state_dict(self) -> dict[str, Any]:
        state = _as_dict(self.fingerprint)
        return state if self.meta is None else {**state, _META_KEY: _as_dict(self.meta)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Log a warning if images or annotations of the training set or the meta set have changed.

        Raises:
            LtDetError: the number of classes has changed, or there are other names in their places.
        """
        self.is_compared = True
        _compare(self.fingerprint, state, "training data")
        if self.meta is not None and isinstance(state.get(_META_KEY), Mapping):
            _compare(self.meta, state[_META_KEY], "meta sets")


def _compare(now: DataFingerprint, state: Mapping[str, Any], part: str) -> None:
    """Warn of changed images, and refuse changed classes.

    Args:
        now: of the data of this training.
        state: the fields of the fingerprint in the checkpoint.
        part: of the data, for the message.
    """
    known = {field.name for field in dataclasses.fields(DataFingerprint)}
    before = DataFingerprint(**{key: value for key, value in state.items() if key in known})
    if classes := now.changed_classes(before):
        raise LtDetError(
            f"The classes of the {part} have changed since the checkpoint was saved: {classes}; restore the "
            "annotations it was trained with, or use another OUTPUT_DIR and set MODEL.WEIGHTS (LazyConfig: "
            "train.init_checkpoint) to the checkpoint to start a training from its weights."
        )
    if images := now.changed_images(before):
        logger.warning(
            f"The {part} have changed since the checkpoint was saved: {images}. The training continues with the new "
            "data; the order of its images is not that of an uninterrupted training."
        )


def _as_dict(fingerprint: DataFingerprint) -> dict[str, Any]:
    state = dataclasses.asdict(fingerprint)
    return {**state, "classes": None if state["classes"] is None else list(state["classes"])}


def _class_names(datasets: Sequence[str]) -> list[str] | None:
    for name in datasets:
        names = MetadataCatalog.get(name).get("thing_classes") if name in DatasetCatalog else None
        if names is not None:
            return [str(name) for name in names]
    return None


def _listed(dataset: Any) -> list[Mapping[str, Any]] | None:
    """The records of a list; None for a dataset of another kind, or of other items."""
    if type(dataset) not in (list, DatasetFromList):
        return None
    records = [dataset[index] for index in range(len(dataset))]
    return records if all(isinstance(record, Mapping) for record in records) else None


def _label(category: Any) -> int:
    try:
        label = int(category)
    except (TypeError, ValueError):
        label = 2**63
    return label if abs(label) < 2**63 else _digest(repr(category).encode()) >> 1


def _annotations(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return record.get("annotations") or ()


def _identity(image_id: Any, file_name: Any) -> bytes:
    """Of an image, whatever folder it is in."""
    return f"{image_id}\0{PurePath(str(file_name)).name}".encode(errors="surrogatepass")


def _shapes(dataset: Any, ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A digest of each annotation. Which images are sampled depends on their ids, and not on their order."""
    chosen = np.flatnonzero(ids % np.uint64(max(1, len(ids) // _SAMPLED)) == 0)
    found = []
    for index in chosen.tolist():
        record = dataset[index]
        size = (record.get("width"), record.get("height"))
        found.append(_digest(_identity(record.get("image_id"), record.get("file_name")) + _canonical(size)))
        found += [_digest(ids[index].tobytes() + _canonical(annotation)) for annotation in _annotations(record)]
    return np.asarray(found, dtype=np.uint64)


def _canonical(value: Any) -> bytes:
    """The same bytes for equal values, whether integers or floats, lists or tuples."""
    if isinstance(value, Mapping):
        parts = (f"{key}:".encode() + _canonical(value[key]) for key in sorted(value, key=str) if key != "bbox_mode")
        return b"{" + b",".join(parts) + b"}"
    if isinstance(value, list | tuple):
        try:
            return array("d", value).tobytes()
        except (TypeError, OverflowError):
            return b"[" + b",".join(map(_canonical, value)) + b"]"
    if isinstance(value, np.ndarray):
        return _canonical(value.tolist())
    if isinstance(value, float | int) and abs(value) < 2**53:
        return struct.pack("d", value)
    return value if isinstance(value, bytes) else repr(value).encode()


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64-bit values (the finalizer of Steele et al. 2014, SplitMix), so that sums of them are digests."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _total(digests: NDArray[np.uint64]) -> str:
    """A digest of digests in any order."""
    return f"{int(digests.sum(dtype=np.uint64)):016x}"


def _differ(before: Any, now: Any) -> bool:
    return before is not None and now is not None and before != now
