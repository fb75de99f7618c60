"""Recognize annotations in other formats than COCO json, so that an error can say how to convert them.

It looks at the first bytes of a file, at the names in a folder or an archive, and at the first records of a json.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from lt_det.errors import LtDetError
from lt_det.io.json.sections import JsonSections

PAGE = "docs/converting.md"

_HEAD = 4096  # bytes of a file that are looked at
_MAX_NAMES = 5000  # of a folder or an archive
_MAX_DEPTH = 4  # of folders
_MAX_RECORDS = 100  # of a list
_YOLO_CLASSES = "classes.txt"
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class Kind(NamedTuple):
    """What a file or folder is, as the rest of a sentence that begins with its path, and what the user can do."""

    what: str
    advice: str


def _convertible(what: str, heading: str) -> Kind:
    return Kind(what, f"convert it to COCO json, see {PAGE}#{heading}")


VOC = _convertible("Pascal VOC xml", "pascal-voc")
YOLO = _convertible("YOLO annotations", "yolo")
CVAT = _convertible("a CVAT xml", "cvat")
LABEL_STUDIO = _convertible("a Label Studio json", "label-studio")
LABELME = _convertible("LabelMe json", "labelme")
SUPERVISELY = _convertible("Supervisely json", "other-formats")
OPEN_IMAGES = _convertible("an Open Images csv", "other-formats")
CSV = _convertible("a csv table", "other-formats")
VIA = _convertible("a VGG Image Annotator json", "other-formats")
CREATE_ML = _convertible("a Create ML json", "other-formats")
BDD = _convertible("a BDD100K json", "other-formats")
DATUMARO = _convertible("a Datumaro json", "other-formats")
FIFTYONE = _convertible("a FiftyOne json", "other-formats")
MMDETECTION = _convertible("an mmdetection json (metainfo and data_list)", "other-formats")
V7 = _convertible("a V7 Darwin json", "other-formats")
CITYSCAPES = _convertible("a Cityscapes json", "other-formats")
VIDEOS = Kind(
    "annotations of videos, as of YouTube-VIS or TAO",
    "write each frame as an image, in a COCO json with images, annotations and categories",
)
RECORDS = Kind(
    "a list of Detectron2's records",
    "register the function that makes them, see docs/data.md, or convert them with "
    "detectron2.data.datasets.coco.convert_to_coco_json",
)
OTHER_XML = _convertible("an xml file in a format that lt_det does not know", "other-formats")
RESULTS = Kind(
    "a list of detections (COCO results), not annotations",
    "name the annotation file here, and pass the detections to lt-det evaluate --results",
)
CAPTIONS = Kind("COCO's image captions, without boxes", "use the instances_*.json of the same images")
PANOPTIC = Kind(
    "COCO's panoptic segmentation, without boxes of instances", "use the instances_*.json of the same images"
)
IMAGE = Kind("an image, not annotations", "name the annotation file, and give the folder of images separately")
IMAGES = Kind(
    "a folder of images without annotations",
    f"annotate them and export COCO json, see {PAGE}, or name the annotation file",
)


def recognize(path: str | os.PathLike[str]) -> Kind | None:
    """What a file or folder that is no COCO annotation file is; None if it is nothing that lt_det knows."""
    with contextlib.suppress(Exception):  # a file of any content may come here, and has an error of its own already
        path = Path(path)
        if path.is_dir():
            return _kind_of_folder(path)
        if path.is_file():
            return _kind_of_file(path)
    return None


def refusal(path: str | os.PathLike[str]) -> LtDetError | None:
    """The error for a file or folder that `recognize` knows; None if it does not."""
    kind = recognize(path)
    return None if kind is None else LtDetError(f"{path} is {kind.what}; {kind.advice}.")


def _kind_of_file(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    if suffix in _IMAGES:
        return IMAGE
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("<"):
        return _kind_of_xml(text)
    if text.startswith(("{", "[")):
        return _kind_of_json(path)
    if suffix == ".csv":
        return _kind_of_csv(text)
    if suffix == ".txt" and (_is_yolo_label(text) or path.name == _YOLO_CLASSES):
        return YOLO
    return YOLO if suffix in (".yaml", ".yml") and _is_yolo_yaml(text) else None


def _kind_of_xml(text: str) -> Kind:
    root = re.search(r"<([A-Za-z_][\w.-]*)", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))
    return {"annotation": VOC, "annotations": CVAT}.get(root[1] if root else "", OTHER_XML)


def _kind_of_csv(text: str) -> Kind:
    return OPEN_IMAGES if {"ImageID", "LabelName", "XMin"} <= set(text.splitlines()[0].split(",")) else CSV


def _is_yolo_label(text: str) -> bool:
    """Whether the lines are a class index and the fractions of a box or of a polygon."""
    lines = [line.split() for line in text.splitlines()[:5]]
    number = re.compile(r"(0?\.\d+|[01](\.\d+)?)(e-\d+)?")
    return bool(lines) and all(
        len(words) >= 5 and words[0].isdecimal() and all(map(number.fullmatch, words[1:5])) for words in lines
    )


def _is_yolo_yaml(text: str) -> bool:
    keys = set(re.findall(r"^(\w+)\s*:", text, re.MULTILINE))
    return "names" in keys and bool(keys & {"nc", "train", "path", "val"})


def _kind_of_json(path: Path) -> Kind | None:
    with JsonSections(path, "file") as sections:
        document = sections.rest
        if isinstance(document, list):
            return _kind_of_list(document)
        if not isinstance(document, dict):
            return None
        first = {name: next(iter(next(sections.pieces(name), [])), None) for name in sections.names}
    return _kind_of_object(document | first)


def _kind_of_list(document: list[Any]) -> Kind | None:
    for record in itertools.islice(document, _MAX_RECORDS):
        if not isinstance(record, dict):
            return None
        for kind, found in _LISTS:
            if found(record):
                return kind
    return None


def _is_label_studio(record: dict[str, Any]) -> bool:
    """A task of the json, or of the smaller JSON_MIN, in which the regions are a list beside the image."""
    if isinstance(record.get("data"), dict) and isinstance(record.get("annotations", record.get("completions")), list):
        return True
    return any("original_width" in _first(value) for value in record.values())


def _is_create_ml(record: dict[str, Any]) -> bool:
    return "coordinates" in _first(record.get("annotations"))


_LISTS: tuple[tuple[Kind, Callable[[dict[str, Any]], bool]], ...] = (
    (RESULTS, lambda record: {"image_id", "category_id"} <= set(record)),
    (LABEL_STUDIO, _is_label_studio),
    (CREATE_ML, _is_create_ml),
    (RECORDS, lambda record: "file_name" in record and "bbox_mode" in _first(record.get("annotations"))),
    (BDD, lambda record: "name" in record and "category" in _first(record.get("labels"))),
)


def _kind_of_object(first: dict[str, Any]) -> Kind | None:
    """The kind of a json object, given each value, or the first element of it where it is a list."""
    annotation = first.get("annotations")
    if isinstance(annotation, dict) and "images" in first:
        if "bbox" in annotation:  # COCO json with more fields, whose own mistake is the error
            return None
        return CAPTIONS if "caption" in annotation else PANOPTIC if "segments_info" in annotation else None
    if {"images", "annotations", "categories"} <= set(first):
        return None
    for kind, keys in _OBJECTS:
        if keys <= set(first):
            return kind
    regions = [value for value in first.values() if isinstance(value, dict) and {"regions", "filename"} <= set(value)]
    return VIA if regions else None


_OBJECTS: tuple[tuple[Kind, set[str]], ...] = (
    (LABELME, {"shapes", "imagePath"}),
    (SUPERVISELY, {"objects", "size"}),
    (SUPERVISELY, {"classes", "tags"}),
    (VIA, {"_via_img_metadata"}),
    (DATUMARO, {"items", "categories"}),
    (FIFTYONE, {"samples"}),
    (MMDETECTION, {"metainfo", "data_list"}),
    (V7, {"item", "annotations"}),
    (CITYSCAPES, {"imgHeight", "imgWidth", "objects"}),
    (VIDEOS, {"videos", "annotations", "categories"}),
)


def _first(value: Any) -> dict[str, Any]:
    """The first element of a list of objects; an empty one for anything else."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _kind_of_folder(folder: Path) -> Kind | None:
    names = list(itertools.islice(_files_below(folder), _MAX_NAMES))

    def head(name: str) -> str:
        with Path(folder, name).open("rb") as file:
            return file.read(_HEAD).decode("utf-8-sig", "replace").lstrip()

    kind = _kind_of_names(names, head)
    if kind is not None:
        return kind._replace(what=f"a folder with {kind.what}")
    for name in sorted((name for name in names if name.lower().endswith(".json")), key=lambda name: name.count("/")):
        path = Path(folder, name)
        with contextlib.suppress(LtDetError):
            if kind := _kind_of_json(path):
                return kind._replace(what=f"a folder with {kind.what}")
            with JsonSections(path, "file") as sections:
                if {"images", "annotations", "categories"} <= set(sections.names):
                    return Kind("a folder", f"name the annotation file in it, such as {path}")
    if any(name.lower().endswith(".csv") for name in names):
        return CSV._replace(what=f"a folder with {CSV.what}")
    return IMAGES if any(name.lower().endswith(_IMAGES) for name in names) else None


def _kind_of_archive(path: Path) -> Kind | None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()[:_MAX_NAMES]

        def head(name: str) -> str:
            with archive.open(name) as file:
                return file.read(_HEAD).decode("utf-8-sig", "replace").lstrip()

        kind = _kind_of_names(names, head)
    return None if kind is None else Kind(f"a zip archive with {kind.what}", f"unpack it, and {kind.advice}")


def _kind_of_names(names: Iterable[str], head: Callable[[str], str]) -> Kind | None:
    """The kind of a folder or an archive by the first file of each suffix."""
    of_suffix: dict[str, list[str]] = {}
    for name in names:
        of_suffix.setdefault(Path(name).suffix.lower(), []).append(name)
    if of_suffix.get(".xml"):
        return _kind_of_xml(head(of_suffix[".xml"][0]))
    if any(_is_yolo_yaml(head(name)) for name in of_suffix.get(".yaml", []) + of_suffix.get(".yml", [])):
        return YOLO
    labels = [name for name in of_suffix.get(".txt", []) if Path(name).name != _YOLO_CLASSES]
    if any(_is_yolo_label(head(name)) for name in labels[:_MAX_RECORDS]):
        return YOLO
    return None


def _files_below(folder: Path) -> Iterable[str]:
    """Paths of files relative to a folder, the upper ones first."""
    for root, folders, files in os.walk(folder):
        depth = len(Path(root).relative_to(folder).parts)
        folders[:] = sorted(folders) if depth < _MAX_DEPTH else []
        yield from (os.path.relpath(os.path.join(root, name), folder) for name in sorted(files))
