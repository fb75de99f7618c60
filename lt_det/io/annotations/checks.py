"""Find the mistakes in annotations of COCO's structure, and report them with the record and the fix.

A mistake that Detectron2 clips or skips is harmless in a few records. In at least `MIN_FRACTION` of them, it is a file
in another format, and an error.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt_det.io.annotations.box_conventions import BORDER_TOLERANCE, BoxConventions
from lt_det.io.annotations.coco_json import image_file_name
from lt_det.io.annotations.fields import FEDERATED_LISTS, SECTIONS, Section, short_repr
from lt_det.io.annotations.findings import Findings, Problem
from lt_det.io.annotations.mask_places import MaskPlaces
from lt_det.io.annotations.nearby_files import NearbyFiles
from lt_det.io.shapes import LARGEST, are_pixels, is_polygon, usable_segmentation

MIN_FRACTION = 0.1  # of the records: from here on, what is harmless in one record is an error of the file
MIN_RECORDS = 3  # and at least so many, so that a tiny set is not refused for one of them
_MANY_FLAGS = 0.5  # fraction of crowd regions that is an error: sets of pedestrians have up to a third
_LEAST_OF_BOX, _MOST_OF_BOX = 0.01, 1.5  # of the box that the area of a mask covers
_MANY_AREAS = 0.5  # fraction of areas that is a mistake of the file
_MANY_REPEATED = 0.01  # fraction of objects that are annotated again: a few occur in any set
_OUTSIDE = "outside"  # kind of the problem of boxes that have an area nevertheless
_NUMBERS = (int, float)


class AnnotationChecks:
    """Finds the mistakes in one document, a section or a part of one at a time: categories, images, annotations.

    It keeps about 200 bytes of each image and 16 of each annotation. The records went through `AnnotationFields`.
    """

    def __init__(self, json_file: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None) -> None:
        """
        Args:
            json_file: the file, for messages.
            image_root: folder in which each image must be; None: do not look.
        """
        self._json_file = json_file
        self._files = None if image_root is None else _ImageFolder(Path(image_root))
        self._again: dict[Section, Counter[Any]] = {"categories": Counter(), "images": Counter()}
        self._names: Counter[Any] = Counter()
        self._categories: set[Any] = set()
        self._ids_of_names: dict[str, Any] = {}
        self._headings: Counter[str] = Counter()  # names of supercategories of other categories
        self._annotated: set[Any] = set()  # ids of categories
        self._sizes: dict[Any, tuple[int, int]] = {}  # width and height of each image
        self._same_size: dict[tuple[int, int], tuple[int, int]] = {}
        self._image_of_file: dict[int, Any] = {}  # by the hash of the name
        self._ids = array("q")  # of annotations
        self._other_ids: Counter[Any] = Counter()
        self._objects = array("q")  # hashes
        self._boxes, self._places = BoxConventions(), MaskPlaces()
        self._counts: Counter[str] = Counter()
        self._bad_segmentation: Any = None

    @property
    def sizes(self) -> Mapping[Any, tuple[int, int]]:
        """Width and height of the images so far, by id."""
        return self._sizes

    def add(self, section: Section, records: Sequence[dict[str, Any]]) -> Iterator[Problem]:
        """Yield the mistakes in the records of a section."""
        checks = {
            "categories": self._categories_problems,
            "images": self._images_problems,
            "annotations": self._annotations_problems,
        }
        return checks[section](records)

    def _categories_problems(self, records: Iterable[dict[str, Any]]) -> Iterator[Problem]:
        """Yield the mistakes in categories."""
        for category in records:
            if category["id"] in self._categories:
                self._again["categories"][category["id"]] += 1
            self._categories.add(category["id"])
            name, heading = str(category["name"]), category.get("supercategory")
            self._names[name] += 1
            self._ids_of_names[name] = category["id"]
            if isinstance(heading, str) and heading != name:
                self._headings[heading] += 1
        yield from ()

    def _images_problems(self, records: Iterable[dict[str, Any]]) -> Iterator[Problem]:
        """Yield the mistakes in images: two with one file, federated lists with unknown classes, missing files."""
        for image in records:
            id_, size = image["id"], (image["width"], image["height"])
            if id_ in self._sizes:
                self._again["images"][id_] += 1
            self._sizes[id_] = self._same_size.setdefault(size, size)  # most images share one of a few sizes
            for key in FEDERATED_LISTS:
                if unknown := set(image.get(key) or ()) - self._categories:
                    first = min(unknown, key=str)
                    others = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
                    what = f"lists category {first}{others}, which is not in 'categories'; remove it"
                    yield Problem(f"image {id_}: '{key}' {what}", fatal=True, kind=key, noun="image", id=id_)
            if image.get("file_name") or image.get("coco_url"):
                name = image_file_name(image, self._json_file)
                other = self._image_of_file.setdefault(hash(name), id_)
                if other != id_:
                    message = f"images {other} and {id_} are one file {name}; drop one of them"
                    yield Problem(message, fatal=False, as_written=True, kind="one file", noun="image", id=id_)
            if self._files is not None:
                yield from self._files.missing(id_, Path(self._files.root, image_file_name(image, self._json_file)))

    def _annotations_problems(self, records: Sequence[dict[str, Any]]) -> Iterator[Problem]:
        """Yield the mistakes in annotations: unknown images and classes, boxes, segmentations."""
        boxes, sizes = array("d"), array("d")
        for annotation in records:
            id_ = annotation["id"]
            if type(id_) is int and -(2**63) <= id_ < 2**63:
                self._ids.append(id_)
            else:
                self._other_ids[id_] += 1
            self._annotated.add(annotation["category_id"])
            yield from self._reference_problems(annotation)
            size = self._sizes.get(annotation["image_id"])
            problem = self._box_problem(annotation, size)
            if problem is not None:
                yield problem
            if size is not None and (problem is None or not problem.fatal):
                boxes.extend(annotation["bbox"])
                sizes.extend(size)
                if not annotation.get("iscrowd"):
                    self._objects.append(hash((annotation["image_id"], annotation["category_id"], *annotation["bbox"])))
            if annotation.get("segmentation"):
                has_area = problem is None or problem.kind == _OUTSIDE
                yield from self._segmentation_problems(annotation, size, annotation["bbox"] if has_area else None)
            self._counts["iscrowd"] += bool(annotation.get("iscrowd"))
            self._counts["ignore"] += bool(annotation.get("ignore"))
        self._counts["all"] += len(records)
        self._boxes.add(np.asarray(boxes).reshape(-1, 4), np.asarray(sizes).reshape(-1, 2))

    def finish(self) -> Iterator[Problem]:
        """Yield what only the whole document shows: ids and names used twice, and mistakes in many records."""
        for section, again in self._again.items():
            for id_, times in again.items():
                yield _used_again(section, id_, times + 1, fatal=True)
        ids, times_used = np.unique(np.asarray(self._ids), return_counts=True)
        twice = times_used > 1
        repeated = dict(zip(ids[twice].tolist(), times_used[twice].tolist(), strict=True))
        for id_, times in (repeated | {id_: n for id_, n in self._other_ids.items() if n > 1}).items():
            yield _used_again("annotations", id_, times, fatal=False)
        for name, times in self._names.items():
            if times > 1:
                message = f"category name '{name}' is used {times} times; rename all but one"
                yield Problem(
                    message, fatal=False, as_written=True, kind="same name", noun="category name", id=f"'{name}'"
                )
        alike: dict[str, list[str]] = {}
        for name in self._names:
            alike.setdefault(" ".join(name.casefold().split()), []).append(name)
        for key, names in alike.items():
            message = ""
            if not key:
                message = "a category has an empty name; name it"
            elif len(names) > 1:
                shown = " and ".join(f"'{name}'" for name in names)
                message = (
                    f"category names {shown} differ only in case or spaces; make them one category if they are one"
                )
            if message:
                yield Problem(message, fatal=False, as_written=True, kind="like names", noun="category", id=names[0])
        for heading, number in self._headings.items():
            if self._annotated and heading in self._names and self._ids_of_names[heading] not in self._annotated:
                message = (
                    f"category '{heading}' has no annotation and is the 'supercategory' of {number} other "
                    f"{'category' if number == 1 else 'categories'}, as in exports of Roboflow: it becomes a class "
                    "that is never seen; remove it from 'categories' of every set if it is only a heading"
                )
                yield Problem(message, fatal=False, as_written=True, kind=f"heading {heading}", noun="category")
        yield from self._mistakes_in_many()

    def _mistakes_in_many(self) -> Iterator[Problem]:
        counts, total = self._counts, self._counts["all"]
        if (mistake := self._boxes.mistake(MIN_FRACTION, MIN_RECORDS)) is not None:
            yield Problem(mistake, fatal=True, by_number=True)
        for doubt in self._boxes.doubts():
            yield Problem(doubt, fatal=False, as_written=True)
        if (mistake := self._places.mistake(MIN_FRACTION, MIN_RECORDS)) is not None:
            yield Problem(mistake, fatal=False, as_written=True)
        if _is_many(counts["no area"], total):
            message = f"{counts['no area']} of {total} boxes have no area; write [x, y, width, height] in pixels"
            yield Problem(message, fatal=True, by_number=True)
        if _is_many(counts["bad segmentation"], counts["segmentation"]):
            message = f"{counts['bad segmentation']} of {counts['segmentation']} segmentations cannot be used: "
            yield Problem(message + _segmentation_advice(self._bad_segmentation), fatal=True, by_number=True)
        for key, effect in (
            ("iscrowd", "crowd regions, which are not trained on and which evaluation ignores"),
            ("ignore", "objects that evaluation ignores"),
        ):
            if _is_many(counts[key], total):
                message = f"{counts[key]} of {total} annotations have '{key}' 1: {effect}; write 0 for single objects"
                yield Problem(message, fatal=counts[key] >= _MANY_FLAGS * total, by_number=True)
        if _is_many(counts["zero area"], total):
            message = (
                f"{counts['zero area']} of {total} annotations have 'area' 0 or less: LVIS's evaluation leaves them "
                "out, and COCO's counts them as small; write the area of the mask, or remove the field"
            )
            yield Problem(message, fatal=False, as_written=True)
        repeated = len(self._objects) - len(np.unique(np.asarray(self._objects)))
        if repeated >= max(_MANY_REPEATED * total, MIN_RECORDS):
            message = (
                f"{repeated} of {total} annotations repeat another one, with the same image, category and 'bbox', as "
                "if two annotators or files had been merged: each counts as an object, of which a detector finds one; "
                "drop the repeated ones"
            )
            yield Problem(message, fatal=False, as_written=True)
        if counts["unlike area"] >= max(_MANY_AREAS * total, MIN_RECORDS):
            message = (
                f"{counts['unlike area']} of {total} annotations have an 'area' that does not fit their 'bbox', such "
                "as a constant, a fraction of the image, or the area in a resized image: AP of small, medium and "
                "large objects will be wrong; write the area of the mask in pixels, or remove the field"
            )
            yield Problem(message, fatal=False, as_written=True)

    def _reference_problems(self, annotation: dict[str, Any]) -> Iterator[Problem]:
        for kind, plural, known in (("category", "categories", self._categories), ("image", "images", self._sizes)):
            id_ = annotation[f"{kind}_id"]
            if id_ not in known:
                message = f"annotation {annotation['id']}: {kind} {id_} is not in '{plural}'; add it or correct the id"
                yield Problem(message, True, kind=f"no {kind}", noun="annotation", id=annotation["id"])

    def _box_problem(self, annotation: dict[str, Any], size: tuple[int, int] | None) -> Problem | None:
        box = annotation["bbox"]
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            return _bad_box(annotation, "box", f"is {short_repr(box)}; write four numbers [x, y, width, height]", True)
        if not are_pixels(box):
            what = f"{short_repr(box)} is not finite or exceeds {LARGEST} pixels; correct or drop it"
            return _bad_box(annotation, "large box", what, True)
        x, y, width, height = box
        if width <= 0 or height <= 0:
            self._counts["no area"] += 1
            return _bad_box(annotation, "no area", f"{box} has no area; correct or drop it", False)
        area = annotation.get("area")
        if area is not None:
            self._counts["zero area"] += area <= 0
            # A mask that reaches from end to end of its box has as many pixels as the longer side, however thin it is.
            too_small = 0 < area < _LEAST_OF_BOX * width * height and area < max(width, height)
            # Some tools write boxes that are a pixel less wide and high than their masks.
            too_large = area > _MOST_OF_BOX * (width + 1) * (height + 1)
            self._counts["unlike area"] += too_small or too_large
        if size is not None and (
            min(x, y) < -BORDER_TOLERANCE
            or x + width > size[0] + BORDER_TOLERANCE
            or y + height > size[1] + BORDER_TOLERANCE
        ):
            image = f"image {annotation['image_id']} of {size[0]} x {size[1]} pixels"
            return _bad_box(annotation, _OUTSIDE, f"{box} exceeds {image}; correct the box or the size", False)
        return None

    def _segmentation_problems(
        self, annotation: dict[str, Any], size: tuple[int, int] | None, box: list[float] | None
    ) -> Iterator[Problem]:
        """
        Args:
            annotation: with a segmentation.
            size: width and height of its image; None: not known.
            box: its box; None: it has none with an area.
        """
        here, segmentation = f"annotation {annotation['id']}", annotation["segmentation"]
        self._counts["segmentation"] += 1
        if isinstance(segmentation, dict):
            if usable_segmentation(annotation) is None:
                problem = "has no 'counts' or 'size', or its RLE does not cover height x width pixels"
            elif size is not None and tuple(segmentation["size"]) != size[::-1]:
                message = (
                    f"{here}: the RLE has the 'size' {segmentation['size']}, but image {annotation['image_id']} is "
                    f"{size[1]} pixels high and {size[0]} wide; correct one of them"
                )
                yield Problem(message, True, kind="size of RLE", noun="annotation", id=annotation["id"])
                return
            else:
                return
        elif not all(map(is_polygon, segmentation)):
            problem = "is not a list of polygons [x, y, x, y, x, y, ...] with three or more points"
        elif box is not None and max(segmentation[0]) <= 1 and max(box[2:]) > 2:
            problem = "lies within the first pixel of the image, and 'bbox' does not"
        else:
            if box is not None:
                self._places.add(segmentation, box)
            return
        self._counts["bad segmentation"] += problem.startswith("lies") or usable_segmentation(annotation) is None
        if self._bad_segmentation is None:
            self._bad_segmentation = segmentation
        message = f"{here}: 'segmentation' {problem}; correct or drop it"
        yield Problem(message, False, kind=problem, noun="annotation", id=annotation["id"])


class _ImageFolder:
    """Looks for images that are not in their folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = NearbyFiles(root)
        self._exists = root.is_dir()
        self._reported = False

    def missing(self, id_: Any, file: Path) -> Iterator[Problem]:
        """Yield a problem if the file of an image does not exist; one for all images if there is no folder."""
        if not self._exists:
            if not self._reported:
                self._reported = True
                yield Problem(f"the image folder {self.root} does not exist; correct the path", fatal=True)
            return
        if not self._files.has(file):
            nearby = self._files.find(str(file.relative_to(self.root) if file.is_relative_to(self.root) else file))
            kind, advice = "", "; correct the image folder or 'file_name'"
            if nearby is not None:
                path, kind = nearby
                advice = f", but {path} does: {kind}"
            message = f"image {id_}: {file} does not exist{advice}"
            yield Problem(message, fatal=True, kind=f"no file {kind}", noun="image", id=id_)


def find_problems(
    data: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None
) -> Iterator[Problem]:
    """Yield every mistake in loaded annotations: the record, what is wrong, and the fix.

    Checks duplicate ids, names and files, unknown image and category ids, boxes of zero size or outside their image,
    segmentations, kinds of mistakes that many records share and, with `image_root`, images that are not on disk.
    """
    checks = AnnotationChecks(json_file, image_root)
    found = [problem for section in SECTIONS for problem in checks.add(section, data[section])]
    yield from checks.finish()
    yield from found


def check_annotations(
    data: dict[str, Any],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
    warn: bool = True,
    accept_many: bool = False,
) -> None:
    """Log a warning for harmless mistakes, unless not `warn`, and raise for fatal ones; see `Findings`.

    Raises:
        LtDetError: fatal mistakes; the message names the file and the first few records.
    """
    findings = Findings(json_file, accept_many)
    findings.add(find_problems(data, json_file, image_root))
    findings.report(warn)


def check_images(files: Iterable[tuple[Any, str]], json_file: str, image_root: str) -> None:
    """Raise unless the images, given as id and path, are on disk.

    Raises:
        LtDetError: images are missing; the message lists the first few.
    """
    folder, findings = _ImageFolder(Path(image_root)), Findings(json_file)
    for id_, file in files:
        findings.add(folder.missing(id_, Path(file)))
    findings.report()


def _bad_box(annotation: dict[str, Any], kind: str, what: str, fatal: bool) -> Problem:
    id_ = annotation["id"]
    return Problem(f"annotation {id_}: 'bbox' {what}", fatal, kind=kind, noun="annotation", id=id_)


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def _is_many(count: int, total: int) -> bool:
    return count >= max(MIN_FRACTION * total, MIN_RECORDS)


def _used_again(section: Section, id_: Any, times: int, fatal: bool) -> Problem:
    message = f"'{section}' id {id_} is used {times} times; give each record a unique id"
    return Problem(message, fatal, kind=f"ids of {section}", noun="id", id=id_)


def _segmentation_advice(segmentation: Any) -> str:
    """The likely mistake of a format whose segmentations cannot be used, by the first of them."""
    if isinstance(segmentation, dict):
        return "write an RLE with 'size' [height, width] and 'counts' that cover it"
    if all(isinstance(part, dict) and "counts" in part for part in segmentation):
        return "they are lists of RLE; write one RLE, of all parts of the object, without a list around it"
    if all(isinstance(point, list) and len(point) == 2 for point in segmentation):
        return "their points are pairs [x, y]; write each polygon as one flat list [x, y, x, y, ...]"
    return "write a list of polygons [x, y, x, y, x, y, ...] in pixels, or an RLE"
