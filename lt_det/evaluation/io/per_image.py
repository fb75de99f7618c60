"""Ground truth and detections as torchvision has them: one dictionary of tensors or arrays per image.

========  =========================  ==========================================================================
key       shape                      meaning
========  =========================  ==========================================================================
boxes     (N, 4)                     x1, y1, x2, y2 in pixels
labels    (N,)                       category ids, as they are in the annotation file
scores    (N,)                       detections only
masks     (N, H, W) or (N, 1, H, W)  bool, 0 and 1, or probabilities, which are thresholded at 0.5
image_id  single id                  optional
iscrowd   (N,)                       optional, ground truth only
area      (N,)                       optional, ground truth only; otherwise the area of the mask, or of the box
========  =========================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_utils

from lt_det.errors import LtDetError
from lt_det.evaluation._arrays import Floats, Ints
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.protocols import Task
from lt_det.terminal import count_of

_KEYS = {"boxes", "labels", "scores", "masks"}


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """The N objects or detections of one image, checked.

    Attributes:
        labels: (N,) category ids.
        boxes: (N, 4) x, y, width, height; None if no task needs them.
        masks: N compressed RLEs; None if no task needs them.
        size: height and width of the masks; None without masks.
    """

    labels: Ints
    boxes: Floats | None
    masks: list[Any] | None
    size: tuple[int, int] | None


def is_per_image(value: Any) -> bool:
    """Whether a list has one dictionary of arrays per image; the alternative is a list of COCO results."""
    return isinstance(value, list | tuple) and any(isinstance(entry, Mapping) and _KEYS & set(entry) for entry in value)


def targets_to_coco(
    targets: Sequence[Mapping[str, Any]], image_ids: Sequence[Any], tasks: Sequence[Task], source: str = "ground truth"
) -> dict[str, Any]:
    """Ground truth of some images as COCO annotations, with the categories that occur.

    Args:
        targets: one dictionary per image.
        image_ids: one per image.
        tasks: "segm" needs masks.
        source: name of the targets, for error messages.

    Raises:
        LtDetError: a key is missing, or an array has the wrong shape or values.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    labels: set[int] = set()
    for image_id, target in zip(image_ids, targets, strict=True):
        where = f"{source}, image {image_id}"
        arrays = _read_image(target, tasks, where)
        number = len(arrays.labels)
        boxes = arrays.boxes
        if boxes is None:  # masks are evaluated alone
            boxes = mask_utils.toBbox(arrays.masks) if arrays.masks else np.zeros((0, 4))
        if "area" in target:
            areas = _array(target, "area", where, (number,))
        elif arrays.masks is not None:
            areas = np.asarray([mask_utils.area(mask) for mask in arrays.masks])
        else:
            areas = boxes[:, 2] * boxes[:, 3]
        crowd = _array(target, "iscrowd", where, (number,)) if "iscrowd" in target else np.zeros(number)
        height, width = arrays.size or (0, 0)
        images.append({"id": image_id, "height": height, "width": width})
        columns = zip(arrays.labels.tolist(), boxes.tolist(), areas.tolist(), crowd.tolist(), strict=True)
        for index, (label, box, area, is_crowd) in enumerate(columns):
            annotation = {"image_id": image_id, "category_id": label, "bbox": box, "area": area, "iscrowd": is_crowd}
            if arrays.masks is not None:
                annotation["segmentation"] = arrays.masks[index]
            annotations.append({"id": len(annotations) + 1, **annotation})
            labels.add(label)
    categories = [{"id": label, "name": str(label)} for label in sorted(labels)]
    return {"images": images, "annotations": annotations, "categories": categories}


def predictions_to_results(
    predictions: Iterable[tuple[Any, Mapping[str, Any]]],
    tasks: Sequence[Task],
    sizes: Mapping[Any, tuple[int, int]],
    source: str = "detections",
) -> Results:
    """Detections as columns.

    Args:
        predictions: image id and dictionary of each image, see `with_image_ids`.
        tasks: "bbox" needs boxes, "segm" masks.
        sizes: height and width of the images, by id, where they are known.
        source: name of the detections, for error messages.

    Raises:
        LtDetError: a key is missing, an array has the wrong shape or values, or masks do not have their image's size.
    """
    image_ids, labels, scores, boxes, masks = [], [], [], [], []
    for image_id, prediction in predictions:
        where = f"{source}, image {image_id}"
        arrays = _read_image(prediction, tasks, where)
        size = sizes.get(image_id)
        if arrays.size is not None and size is not None and arrays.size != size:
            raise LtDetError(
                f"{where}: 'masks' are of {arrays.size[0]} x {arrays.size[1]} pixels, but the image has "
                f"{size[0]} x {size[1]}; resize them to the image."
            )
        image_ids += [image_id] * len(arrays.labels)
        labels.append(arrays.labels)
        scores.append(_array(prediction, "scores", where, (len(arrays.labels),)))
        boxes.append(arrays.boxes if arrays.boxes is not None else np.zeros((0, 4)))
        masks += arrays.masks or []
    return Results(
        np.fromiter(image_ids, dtype=object, count=len(image_ids)),
        np.concatenate([np.zeros(0, np.int64), *labels]),
        np.concatenate([np.zeros(0), *scores]),
        np.concatenate([np.zeros((0, 4)), *boxes]) if "bbox" in tasks else None,
        masks if "segm" in tasks else None,
        source,
        "xyxy",
    )


def own_image_ids(entries: Sequence[Any], source: str) -> list[Any] | None:
    """The ``image_id`` of each dictionary; None if none has one.

    Raises:
        LtDetError: an entry is not a dictionary, only some have an id, one is not a single id, or two are equal.
    """
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise LtDetError(
                f"{source}, image {index}: expected a dictionary of boxes and labels, got {type(entry).__name__}."
            )
    with_id = sum("image_id" in entry for entry in entries)
    if not with_id:
        return None
    if with_id < len(entries):
        raise LtDetError(
            f"{source}: {with_id} of {len(entries)} images have an 'image_id'; give it for all or for none."
        )
    ids = [_single_id(entry["image_id"], f"{source}, image {index}") for index, entry in enumerate(entries)]
    check_distinct(ids, source)
    return ids


def with_image_ids(
    predictions: Any, ordered_ids: Sequence[Any] | None, source: str = "detections"
) -> list[tuple[Any, Mapping[str, Any]]]:
    """Predictions with the id of their image: that of a mapping, their own ``image_id``, or that of their position.

    Args:
        predictions: a mapping from image id to dictionary, or a list of dictionaries.
        ordered_ids: image ids in the order of the list, for predictions without an id; None if there is no such order.
        source: name of the predictions, for error messages.

    Raises:
        LtDetError: the images cannot be assigned.
    """
    if isinstance(predictions, Mapping):
        own_image_ids(list(predictions.values()), source)
        keys = [_single_id(key, f"{source}, a key of the mapping") for key in predictions]
        check_distinct(keys, source)  # two tensors are two keys
        return list(zip(keys, predictions.values(), strict=True))
    ids = own_image_ids(predictions, source)
    if ids is None and ordered_ids is None and len(predictions):
        raise LtDetError(
            f"{source} do not say which image they belong to; pass a mapping {{image id: detections}}, or put "
            "'image_id' into each dictionary."
        )
    if ids is None:
        ids = list(ordered_ids or ())
        if len(ids) != len(predictions):
            raise LtDetError(
                f"{source} has {count_of(len(predictions), 'dictionary')} for {count_of(len(ids), 'image')}; pass one "
                "per image, empty where nothing is detected."
            )
    return list(zip(ids, predictions, strict=True))


def check_distinct(ids: Sequence[Any], source: str) -> None:
    """Raise LtDetError if an image occurs twice."""
    seen: set[Any] = set()
    for id_ in ids:
        if id_ in seen:
            raise LtDetError(f"{source}: image {id_!r} occurs twice; pass each image once.")
        seen.add(id_)


def _read_image(entry: Mapping[str, Any], tasks: Sequence[Task], where: str) -> ImageArrays:
    labels = _array(entry, "labels", where, (None,))
    if labels.dtype.kind not in "iu" and labels.size:
        raise LtDetError(f"{where}: 'labels' are {labels.dtype} numbers; pass category ids as integers.")
    boxes = masks = size = None
    if "bbox" in tasks:
        corners = _array(entry, "boxes", where, (len(labels), 4)).astype(np.float64)
        flipped = np.flatnonzero((corners[:, 2:] < corners[:, :2]).any(axis=1))
        if len(flipped):
            raise LtDetError(
                f"{where}: the box {corners[flipped[0]].tolist()} has x2 < x1 or y2 < y1; 'boxes' are x1, y1, x2, y2."
            )
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    if "segm" in tasks:
        stack = _array(entry, "masks", where, None)
        if stack.ndim == 4 and stack.shape[1] == 1:
            stack = stack[:, 0]
        if stack.ndim != 3 or len(stack) != len(labels):
            raise LtDetError(
                f"{where}: 'masks' have shape {stack.shape}, for {count_of(len(labels), 'label')}; pass (N, height, "
                "width), also without objects."
            )
        if stack.dtype.kind == "f" and (stack < 0).any():
            raise LtDetError(
                f"{where}: 'masks' go from {stack.min():.3g} to {stack.max():.3g}, so they may be logits; pass masks "
                "of 0 and 1, or probabilities, which are thresholded at 0.5."
            )
        binary = stack > 0.5 if stack.dtype.kind == "f" else stack.astype(np.bool_)
        masks = mask_utils.encode(np.asfortranarray(binary.transpose(1, 2, 0), dtype=np.uint8)) if len(binary) else []
        size = (stack.shape[1], stack.shape[2])
    return ImageArrays(labels.astype(np.int64), boxes, masks, size)


def _array(entry: Mapping[str, Any], key: str, where: str, shape: tuple[int | None, ...] | None) -> NDArray[Any]:
    """An entry's tensor or array, with finite numbers and this shape; an empty one may have any."""
    if key not in entry:
        raise LtDetError(f"{where} has no '{key}'; it has {', '.join(map(str, entry)) or 'no key at all'}.")
    value = entry[key]
    try:
        if hasattr(value, "detach"):  # a torch tensor, on any device
            value = value.detach().cpu()
            value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()  # NumPy has no bfloat16
        array = np.asarray(value)
        numeric = array.dtype.kind in "biuf" and bool(np.isfinite(array).all())
    except (TypeError, ValueError):
        numeric = False
    if not numeric:
        raise LtDetError(f"{where}: '{key}' must be finite numbers.")
    if shape is None:
        return array
    if array.size == 0 and not any(shape[:1]):
        return array.reshape([side or 0 for side in shape])
    if array.ndim != len(shape) or any(
        side not in (None, found) for side, found in zip(shape, array.shape, strict=True)
    ):
        expected = " x ".join("N" if side is None else str(side) for side in shape)
        raise LtDetError(f"{where}: '{key}' have shape {array.shape}, expected {expected}.")
    return array


def _single_id(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return value
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value).reshape(-1)
    if array.size != 1 or array.dtype.kind not in "iuOU":
        raise LtDetError(f"{where}: 'image_id' is {value!r}, not a single id.")
    return array.item()
