"""A user's ground truth and detections for the official packages: as they are, with what a package cannot do without.

Nothing goes through lt_det's own reading. Every value that is not the file's is reported in `OfficialInput.notes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pycocotools import mask as mask_utils

from lt_det.evaluation.protocols import AreaFrom, Task
from lt_det.io.shapes import box_polygon, usable_segmentation
from lt_det.terminal import count_of

_LETTERS = ("r", "c", "f")
_READ_AS_MEANT = ("image_id", "category_id", "iscrowd", "ignore")  # fields that lt_det reads in several types


class OfficialInput(NamedTuple):
    """
    Attributes:
        ground_truth, detections: copies, which the packages may write into.
        notes: a sentence for each kind of value that is not as in the files, or that the package reads in another way.
    """

    ground_truth: dict[str, Any]
    detections: list[dict[str, Any]]
    notes: list[str]


def official_input(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    task: Task,
    federated: bool,
    area_from: AreaFrom = "mask",
) -> OfficialInput:
    """
    Args:
        ground_truth: COCO- or LVIS-format annotations as in the file.
        detections: COCO results as in the file.
        task: overlap of boxes or of masks.
        federated: whether the package is `lvis`; else it is `pycocotools`.
        area_from: "mask" leaves out the boxes of detections with masks, because both packages would take areas from
            them.
    """
    package = "lvis" if federated else "pycocotools"
    notes: list[str] = []
    images = [dict(image) for image in ground_truth["images"]]
    categories = [dict(category) for category in ground_truth["categories"]]
    annotations = [dict(annotation) for annotation in ground_truth["annotations"]]
    if federated:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            _fill(images, key, lambda image: [], "images", f"an empty list, which {package} needs", notes)
        if not all(category.get("frequency") in _LETTERS for category in categories):
            notes.append(f"{package} needs a 'frequency' of r, c or f in every category; the check writes f.")
            categories = [{**category, "frequency": "f"} for category in categories]
    elif any(annotation.get("iscrowd") is None for annotation in annotations):
        _fill(annotations, "iscrowd", lambda annotation: 0, "annotations", f"0, which {package} needs", notes)
    _fill(annotations, "area", _box_area, "annotations", "width x height of the box", notes)
    if task == "segm":
        _fix_segmentations(annotations, package, notes)
    _number(annotations, package, notes)
    found = [dict(detection) for detection in detections]
    if task == "segm":
        _encode(found, images, package, notes)
        if area_from == "mask" and any("bbox" in detection for detection in found):
            notes.append(
                f"{package} takes the areas of detections from their 'bbox', and lt_det those of their masks; the "
                "check leaves 'bbox' out (--area-from box: both take the boxes)."
            )
            for detection in found:
                detection.pop("bbox", None)
    data = {"info": {}, **ground_truth, "images": images, "categories": categories, "annotations": annotations}
    return OfficialInput(data, found, notes)


def other_readings(written: Mapping[str, Any], read: Mapping[str, Any], package: str) -> list[str]:
    """A sentence for each field that lt_det reads in another type than the file's, which the package gets.

    Args:
        written: annotations as in the file.
        read: the same annotations as lt_det reads them.
        package: name of the official package.
    """
    notes = []
    pairs = list(zip(written["annotations"], read["annotations"], strict=False))
    for key in _READ_AS_MEANT:
        other = [
            (one, two)
            for one, two in pairs
            if one.get(key) is not None and (one.get(key) != two.get(key) or isinstance(one.get(key), bool))
        ]
        if other:
            one, two = other[0]
            notes.append(
                f"lt_det reads the '{key}' of {count_of(len(other), 'annotation')} in another type, the first (id "
                f"{one['id']}) has {one[key]!r}, read as {two.get(key)!r}; {package} gets the file's, from "
                "which a difference may come."
            )
    return notes


def _fill(
    records: list[dict[str, Any]],
    key: str,
    value: Callable[[dict[str, Any]], Any],
    section: str,
    meaning: str,
    notes: list[str],
) -> None:
    """Write a key where it is missing or null."""
    without = [record for record in records if record.get(key) is None]
    for record in without:
        record[key] = value(record)
    if without:
        notes.append(f"{len(without)} of {len(records)} {section} have no '{key}'; the check writes {meaning}.")


def _box_area(annotation: dict[str, Any]) -> Any:
    return annotation["bbox"][2] * annotation["bbox"][3]


def _fix_segmentations(annotations: list[dict[str, Any]], package: str, notes: list[str]) -> None:
    """Replace the segmentations on which pycocotools crashes or hangs."""
    flat = boxes = parts = 0
    for annotation in annotations:
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, list) and segmentation and not isinstance(segmentation[0], list):
            annotation["segmentation"] = segmentation = [segmentation]
            flat += 1
        usable = usable_segmentation(annotation)
        if usable is None:
            annotation["segmentation"] = [box_polygon(annotation["bbox"])]
            boxes += 1
        elif usable != segmentation:
            annotation["segmentation"] = usable
            parts += 1
    total = len(annotations)
    if flat:
        notes.append(
            f"{flat} of {total} annotations have a 'segmentation' that is a flat list of numbers, which {package} "
            "cannot read; the check makes each a list of one polygon."
        )
    if boxes:
        notes.append(
            f"{boxes} of {total} annotations have no 'segmentation' that {package} can read; the check gives them "
            "their boxes, as lt_det does, so it says nothing about these masks."
        )
    if parts:
        notes.append(
            f"{parts} of {total} annotations have polygons of fewer than three points or with invalid numbers, on "
            f"which {package} fails; the check leaves these polygons out, as lt_det does."
        )


def _number(annotations: list[dict[str, Any]], package: str, notes: list[str]) -> None:
    """Number the annotations unless their ids, by which both packages mark matches, are distinct and above 0."""
    ids = [annotation.get("id") for annotation in annotations]
    if all(type(id_) is int and 0 < id_ <= 1 << 53 for id_ in ids) and len(set(ids)) == len(ids):
        return
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    notes.append(
        f"{package} needs annotation ids that are distinct whole numbers above 0; the check numbers the annotations."
    )


def _encode(
    detections: list[dict[str, Any]], images: Sequence[Mapping[str, Any]], package: str, notes: list[str]
) -> None:
    """Compress polygons and uncompressed RLE, by pycocotools itself."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    encoded = 0
    for detection in detections:
        segmentation = detection.get("segmentation")
        size = sizes.get(detection["image_id"])
        if size is None or not segmentation:
            continue
        if isinstance(segmentation, list):
            polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
            detection["segmentation"] = mask_utils.merge(mask_utils.frPyObjects(polygons, *size))
            encoded += 1
        elif isinstance(segmentation.get("counts"), list):
            detection["segmentation"] = mask_utils.frPyObjects(segmentation, *size)
            encoded += 1
    if encoded:
        notes.append(
            f"{encoded} of {len(detections)} detections have a 'segmentation' that is not a compressed RLE, the only "
            f"form that {package} reads in results; the check compresses them."
        )
