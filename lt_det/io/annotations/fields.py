"""One type for each field of annotations, whatever type a file wrote; a value that means nothing is refused.

Ids are whole numbers or texts, as the records that define them write them; references follow the definition, so that
"7" and 7 are the same image everywhere. Flags become 0 or 1. What training, class counts and evaluation read has gone
through this pass.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

from lt_det.errors import LtDetError
from lt_det.io.shapes import LARGEST, are_pixels, is_flat_polygon
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

Section = Literal["categories", "images", "annotations"]
SECTIONS: tuple[Section, ...] = ("categories", "images", "annotations")  # in the order in which they are normalized
REQUIRED_KEYS = {
    "categories": ("id", "name"),
    "images": ("id", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
}
FEDERATED_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")

_FLAGS = {0: 0, 1: 1, "0": 0, "1": 1, None: 0}  # True and 1.0 equal 1
_LETTERS = ("r", "c", "f")
_ONE = {"images": "image", "categories": "category", "annotations": "annotation"}
_LONGEST_NUMBER = 19  # digits of a text that may be a whole number


def same_id(value: Any, kind: type[int] | type[str]) -> int | str | None:
    """An id as the type of the ids that it may equal: 7, 7.0 and "7" are one id; "07" is another text.

    Args:
        value: what a record refers to something with.
        kind: int or str, the type of the ids that are defined.

    Returns:
        An int or str; None for a value that is no id (a list, a boolean, 7.5, null).
    """
    if type(value) is kind:  # nearly always
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if kind is str:
        return str(value)
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) <= _LONGEST_NUMBER:
        return int(value) if str(int(value)) == value else value
    return value


def flag(value: Any) -> int | None:
    """0 or 1 for 0/1, true/false, 0.0/1.0, "0"/"1" and null; None for everything else."""
    try:
        return _FLAGS.get(value)
    except TypeError:  # a list
        return None


def short_repr(value: Any) -> str:
    """The first characters of a value, for error messages."""
    try:
        return repr(value)[:60]
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"


class AnnotationFields:
    """Normalizes the records of one document, a section or a part of one at a time: categories first, then images, then
    annotations. Records are copied where they change, and never modified.

    Attributes:
        flat_polygons: segmentations so far that were one flat list of numbers, read as one polygon.
    """

    def __init__(self, path: str) -> None:
        """
        Args:
            path: of the file, or what the document is, for error messages.
        """
        self._path = path
        self._kinds: dict[str, type[int] | type[str]] = {}  # of the ids of each section
        self._counts = dict.fromkeys(REQUIRED_KEYS, 0)
        self._lettered = False  # whether a category has a frequency letter
        self._unlettered: str | None = None  # a category whose frequency is something else
        self._worded = False  # whether that is a text
        self.flat_polygons = 0

    def normalized(self, section: Section, records: Sequence[Any]) -> list[dict[str, Any]]:
        """Records of a section, of builtin types.

        Raises:
            LtDetError: a key is missing, or a value is of another type than its field; names file, record and field.
        """
        one = getattr(self, f"_{_ONE[section]}")
        keys, first = REQUIRED_KEYS[section], self._counts[section]
        self._counts[section] += len(records)
        kind, result = self._kinds.get(section), []
        for number, record in enumerate(records, first):
            try:
                changes = {} if type(record["id"]) is kind else self._defined(section, record, number)
                changes |= one(record)
            except (KeyError, TypeError):
                missing = [key for key in keys if not isinstance(record, dict) or key not in record]
                if not missing:
                    raise
                name = f"id {record['id']}" if isinstance(record, dict) and "id" in record else f"number {number}"
                raise LtDetError(
                    f"{self._path}: '{section}' record {name} has no '{missing[0]}'; add it or drop the record."
                ) from None
            kind = self._kinds[section]
            result.append({**record, **changes} if changes else record)
        return result

    def finish(self) -> None:
        """Check what concerns the document as a whole, and log what was read in another way than it was written.

        Raises:
            LtDetError: no image or no category, or frequency letters for some categories and other values for others.
        """
        for section in ("images", "categories"):
            if not self._counts[section]:
                raise LtDetError(f"{self._path} lists no {section}; nothing can be trained or counted from it.")
        if self._lettered and self._unlettered:
            raise LtDetError(f"{self._path}: {self._unlettered}; write r, c or f for every category, or for none.")
        if self._unlettered and self._worded:  # a number is a count of the user's own
            logger.warning(
                "%s: %s, which is ignored; write r, c or f for every category to define the buckets by it.",
                self._path,
                self._unlettered,
            )
        if self.flat_polygons:
            logger.warning(
                "%s: %s written as one flat list of numbers [x, y, x, y, ...]; each is read as one polygon.",
                self._path,
                count_of(self.flat_polygons, "segmentation"),
            )

    def _refused(self, section: str, record: dict[str, Any], key: str, advice: str) -> LtDetError:
        here, found = f"{_ONE[section]} {short_repr(record['id'])}", short_repr(record[key])
        return LtDetError(f"{self._path}: {here} has '{key}' {found}; {advice}.")

    def _defined(self, section: str, record: dict[str, Any], number: int) -> dict[str, Any]:
        """What changes in a record whose id is of another type than the ids before it."""
        written = record["id"]
        id_ = same_id(written, str if isinstance(written, str) else int)
        if id_ is None:
            found = short_repr(written)
            raise LtDetError(
                f"{self._path}: '{section}' record number {number} has 'id' {found}; write a whole number or a text."
            )
        kind = self._kinds.setdefault(section, type(id_))
        if type(id_) is not kind:
            names = " and ".join(sorted((kind.__name__, type(id_).__name__)))
            raise LtDetError(
                f"{self._path}: the ids of '{section}' are of type {names} (record number {number}: {short_repr(id_)});"
                " make all of them whole numbers."
            )
        return {} if type(written) is kind else {"id": id_}

    def _referred(self, section: str, record: dict[str, Any], key: str, target: str) -> int | str:
        id_ = same_id(record[key], self._kinds.get(target, int))
        if id_ is None:
            raise self._refused(section, record, key, "write a single id")
        return id_

    def _category(self, category: dict[str, Any]) -> dict[str, Any]:
        name, letter = category["name"], category.get("frequency")
        if not isinstance(name, str | int) or isinstance(name, bool):
            found = short_repr(name)
            raise LtDetError(f"{self._path}: category {category['id']} has the name {found}; write a text.")
        if letter in _LETTERS:
            self._lettered = True
        elif letter is not None and self._unlettered is None:
            self._worded = isinstance(letter, str)
            self._unlettered = f"category {category['id']} has 'frequency' {short_repr(letter)}"
        return {}

    def _image(self, image: dict[str, Any]) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        for key in ("height", "width"):
            side = image[key]
            if type(side) is float and side.is_integer():
                changes[key] = side = int(side)
            if not isinstance(side, int) or isinstance(side, bool) or not 0 < side <= LARGEST:
                raise self._refused("images", image, key, "write the number of pixels")
        for key in ("file_name", "coco_url"):
            if not isinstance(image.get(key), str | None):
                raise self._refused("images", image, key, "write a text")
        for key in FEDERATED_LISTS:
            ids = image.get(key)
            if ids:
                kind = self._kinds.get("categories", int)
                same = [same_id(id_, kind) for id_ in ids] if isinstance(ids, list) else [None]
                if None in same:
                    raise self._refused("images", image, key, "write a list of category ids")
                if same != ids or not all(type(id_) is kind for id_ in ids):
                    changes[key] = same
            elif ids is not None and not isinstance(ids, list):
                raise self._refused("images", image, key, "write a list of category ids")
        return changes

    def _annotation(self, annotation: dict[str, Any]) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        get = annotation.get
        for key, target in (("image_id", "images"), ("category_id", "categories")):
            if type(annotation[key]) is not self._kinds.get(target):
                changes[key] = self._referred("annotations", annotation, key, target)
        annotation["bbox"]  # its values are checked together with the size of the image
        for key in ("iscrowd", "ignore"):
            written = get(key, 0)
            value = flag(written)
            if value is None:
                raise self._refused("annotations", annotation, key, "write 0 or 1")
            if value is not written:
                changes[key] = value
        area = get("area")
        if area is not None and not _is_area(area):
            raise self._refused("annotations", annotation, "area", "write a number of pixels")
        segmentation = get("segmentation")
        if isinstance(segmentation, list):
            if segmentation and not isinstance(segmentation[0], list) and is_flat_polygon(segmentation):
                self.flat_polygons += 1
                changes["segmentation"] = [segmentation]
        elif segmentation is not None and not isinstance(segmentation, dict):
            raise self._refused("annotations", annotation, "segmentation", "write a list of polygons, or an RLE")
        keypoints = get("keypoints")
        if keypoints and not (isinstance(keypoints, list) and len(keypoints) % 3 == 0 and are_pixels(keypoints)):
            raise self._refused("annotations", annotation, "keypoints", "write a list [x, y, visibility, ...]")
        return changes


def _is_area(value: Any) -> bool:
    """NaN and an infinite area are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST**2


def normalized_annotations(data: Any, path: str) -> dict[str, Any]:
    """Annotations of COCO's structure with one type for each field; see `AnnotationFields`.

    Args:
        data: content of a COCO- or LVIS-format json. It is not modified.
        path: its file or name, for error messages.

    Raises:
        LtDetError: a list or key is missing, there is no image or category, or a field has a value of another type.
    """
    check_sections(data, path)
    fields = AnnotationFields(path)
    sections = {section: fields.normalized(section, data[section]) for section in SECTIONS}
    fields.finish()
    return {key: sections.get(key, value) for key, value in data.items()}


def check_sections(data: Any, path: str) -> None:
    """
    Raises:
        LtDetError: `data` does not have the lists of an annotation file.
    """
    if not isinstance(data, dict):
        raise LtDetError(f"{path} holds a {type(data).__name__}, not an object with images, annotations, categories.")
    for section in ("images", "annotations", "categories"):
        if not isinstance(data.get(section), list):
            raise LtDetError(f"{path} has no list '{section}'; is it a COCO- or LVIS-format annotation file?")
