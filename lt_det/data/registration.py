"""Register datasets under any name, in LVIS, COCO or any other registered annotation format."""

from __future__ import annotations

import logging
import mmap
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.structures import BoxMode
from pycocotools import mask as mask_utils

from lt_det.data.formats import annotations_of, read_annotations, reads_coco_json
from lt_det.data.formats.registry import COCO, format_reader
from lt_det.data.keypoints import check_flip_map, forget_derived_pairs, keypoint_names
from lt_det.errors import LtDetError
from lt_det.io.annotations.checks import check_annotations
from lt_det.io.annotations.coco_json import image_file_name
from lt_det.io.annotations.fields import short_repr
from lt_det.io.paths import expanded
from lt_det.io.shapes import box_polygon, usable_segmentation
from lt_det.terminal import count_of
from lt_det.unused_loss import unused_loss

logger = logging.getLogger(__name__)

Format = Literal["lvis", "coco"]

# Under DETECTRON2_DATASETS, beside Detectron2's own datasets; `lt-det mini-lvis` writes it.
BUILTIN = {name: ("mini_lvis", f"mini_lvis/{name}.json") for name in ("mini_lvis_train", "mini_lvis_val")}


def register_dataset(
    name: str,
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    format: Format | None = None,
    annotation_format: str = COCO,
    keypoint_flip_map: Sequence[tuple[str, str]] | None = None,
) -> None:
    """Make annotations known to Detectron2 as `name`. They are read when the dataset is first used.

    Category ids need not be contiguous; classes are ordered by id. Federated lists (``neg_category_ids``,
    ``not_exhaustive_category_ids``) are used where there are any.

    Args:
        name: any name; registering the same files twice under it is allowed.
        json_file: COCO- or LVIS-format json, or whatever file or folder `annotation_format` reads.
        image_root: folder that the images' ``file_name`` are relative to.
        format: how to evaluate, "lvis" (federated) or "coco". None: "lvis" if the annotations have federated lists;
            if the file does not exist yet, that is decided when the dataset is evaluated.
        annotation_format: how to read the annotations, see `register_format`.
        keypoint_flip_map: pairs of keypoint names that a mirrored image swaps; None: see `prepare_keypoints`.

    Raises:
        LtDetError: the name belongs to another dataset, a format is unknown, or the flip map is not made of pairs.
    """
    if format not in (None, "lvis", "coco"):
        raise LtDetError(f"Dataset '{name}': FORMAT is '{format}'; write lvis, coco, or leave it out.")
    format_reader(annotation_format)
    flip_map = None if keypoint_flip_map is None else check_flip_map(name, keypoint_flip_map)
    json_path, image_path = expanded(json_file), expanded(image_root)
    if name in DatasetCatalog:
        metadata = MetadataCatalog.get(name)
        registered = (metadata.get("json_file"), metadata.get("image_root"), metadata.get("annotation_format", COCO))
        if registered == (json_path, image_path, annotation_format):
            known = metadata.get("evaluator_type")
            if format is None or format == known:
                _set_flip_map(name, flip_map)
                return
            raise LtDetError(f"A dataset '{name}' is registered already as {known}, not {format}.")
        raise LtDetError(
            f"A dataset '{name}' is registered already with {metadata.get('json_file')}; choose another name."
        )
    DatasetCatalog.register(name, lambda: load_dataset(json_path, image_path, name, annotation_format))
    metadata = MetadataCatalog.get(name)
    metadata.set(json_file=json_path, image_root=image_path, annotation_format=annotation_format)
    if format or (annotation_format == COCO and Path(json_path).is_file()):
        metadata.set(evaluator_type=format or _evaluation_format_of_json(Path(json_path)))
    _set_flip_map(name, flip_map)


def _set_flip_map(name: str, flip_map: list[tuple[str, str]] | None) -> None:
    if flip_map is None:
        return
    forget_derived_pairs(name)
    metadata = MetadataCatalog.get(name)
    if metadata.get("keypoint_flip_map", flip_map) != flip_map:
        raise LtDetError(
            f"A dataset '{name}' is registered already with the KEYPOINT_FLIP_MAP {metadata.keypoint_flip_map}."
        )
    metadata.set(keypoint_flip_map=flip_map)
    if Path(metadata.json_file).exists():  # Detectron2's configs ask for the names before a dataset is loaded
        keypoint_names(name)


def evaluation_format(name: str) -> Format:
    """How to evaluate a registered dataset with annotations: as it was registered, else by its federated lists.

    A dataset without a file has none.

    Raises:
        LtDetError: see `read_annotations`.
    """
    metadata = MetadataCatalog.get(name)
    if known := metadata.get("evaluator_type"):
        return known
    if not metadata.get("json_file"):
        return "coco"
    if reads_coco_json(name):
        return _evaluation_format_of_json(Path(metadata.json_file))
    federated = any(isinstance(image.get("neg_category_ids"), list) for image in annotations_of(name)["images"])
    return "lvis" if federated else "coco"


_ENTRY_KEYS = {"JSON", "IMAGES"}
_OPTIONAL_KEYS = {"FORMAT", "ANNOTATION_FORMAT", "KEYPOINT_FLIP_MAP"}


def register_from_config(cfg: Any) -> None:
    """Register what ``DATASETS.REGISTER`` lists: ``name: {JSON: path, IMAGES: folder}``.

    Optional keys of an entry are FORMAT (how to evaluate: lvis or coco), ANNOTATION_FORMAT (how to read JSON) and
    KEYPOINT_FLIP_MAP (pairs of keypoints that a mirrored image swaps). A warning says so if the config chooses a loss
    that none of its heads uses.

    Raises:
        LtDetError: an entry without JSON or IMAGES, or with another key; see also `register_dataset`.
    """
    for name, entry in cfg.DATASETS.REGISTER.items():
        keys = set(entry) if isinstance(entry, dict) else set()
        paths = [entry.get(key) for key in sorted(_ENTRY_KEYS)] if keys else []
        if not (paths and all(isinstance(path, str) and path for path in paths)) or keys - _ENTRY_KEYS - _OPTIONAL_KEYS:
            raise LtDetError(
                f"DATASETS.REGISTER.{name} needs the keys JSON and IMAGES with a path each (and may have "
                f"{', '.join(sorted(_OPTIONAL_KEYS))}), but is {dict(entry) if keys else entry}."
            )
        register_dataset(
            name,
            entry["JSON"],
            entry["IMAGES"],
            entry.get("FORMAT") or None,
            entry.get("ANNOTATION_FORMAT") or COCO,
            entry.get("KEYPOINT_FLIP_MAP"),
        )
    if cfg.MODEL.LONG_TAIL.LOSS.NAME != "softmax" and uses_stock_heads(cfg):
        logger.warning(unused_loss(cfg))


def uses_stock_heads(cfg: Any) -> bool:
    """Whether MODEL.ROI_HEADS.NAME names heads of Detectron2, in which nothing of lt_det is used."""
    name = cfg.MODEL.ROI_HEADS.NAME
    return name in ROI_HEADS_REGISTRY and ROI_HEADS_REGISTRY.get(name).__module__.startswith("detectron2.")


def register_builtin() -> None:
    """Register mini_lvis under DETECTRON2_DATASETS, as Detectron2 does with LVIS and COCO.

    A dataset that is registered under such a name already is left alone.
    """
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    for name, (image_root, json_file) in BUILTIN.items():
        if name not in DatasetCatalog:
            register_dataset(name, root / json_file, root / image_root, "lvis")


def load_dataset(
    json_file: str, image_root: str, name: str | None = None, annotation_format: str = COCO
) -> list[dict[str, Any]]:
    """Read and check annotations and return them as Detectron2 dictionaries, sorted by image id.

    Args:
        json_file, image_root, annotation_format: see `register_dataset`.
        name: the registered name whose metadata get the class names and the id mapping.

    Raises:
        LtDetError: see `read_annotations` and `check_annotations`.
    """
    data = read_annotations(json_file, annotation_format)
    check_annotations(data, json_file, image_root)
    return records_of(data, json_file, image_root, name)


def records_of(data: dict[str, Any], json_file: str, image_root: str, name: str | None = None) -> list[dict[str, Any]]:
    """Loaded and checked annotations as Detectron2 dictionaries; see `load_dataset`."""
    categories = sorted(data["categories"], key=lambda category: category["id"])
    contiguous = {category["id"]: k for k, category in enumerate(categories)}
    if name is not None:
        _set_classes(name, json_file, [category["name"] for category in categories], contiguous)
    annotations: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
    has_masks = any(annotation.get("segmentation") for annotation in data["annotations"])
    keypoints = _number_of_keypoints(data["annotations"])
    for annotation in data["annotations"]:
        annotations[annotation["image_id"]].append(_annotation_dict(annotation, contiguous, has_masks, keypoints))
    records = []
    for image in sorted(data["images"], key=lambda image: image["id"]):
        record = {
            "file_name": os.path.join(image_root, image_file_name(image, json_file)),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": annotations[image["id"]],
        }
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            if key in image:
                record[key] = image[key]
        records.append(record)
    images, annotated = count_of(len(records), "image"), count_of(len(data["annotations"]), "annotation")
    logger.info("Loaded %s and %s from %s", images, annotated, json_file)
    return records


def _set_classes(name: str, source: str, classes: list[Any], contiguous: dict[Any, int]) -> None:
    """
    Raises:
        LtDetError: a user's program has set other classes, or the file has changed since it was read.
    """
    metadata = MetadataCatalog.get(name)
    found: dict[str, Any] = {"thing_classes": classes, "thing_dataset_id_to_contiguous_id": contiguous}
    for key, value in found.items():
        known = metadata.get(key)
        if known is None:
            metadata.set(**{key: value})
        elif type(value)(known) != value:  # a user may write a tuple
            raise LtDetError(
                f"The metadata of '{name}' have the {key} {short_repr(known)}, but {source} has {short_repr(value)} "
                f"(by ascending category id); do not set {key}, or start again if the file has changed."
            )


def _number_of_keypoints(annotations: Sequence[Mapping[str, Any]]) -> int:
    """How many keypoints each instance has that has some; 0 where they differ, which `keypoint_names` reports."""
    lengths = {len(annotation["keypoints"]) for annotation in annotations if annotation.get("keypoints")}
    return lengths.pop() // 3 if len(lengths) == 1 else 0


def _annotation_dict(
    annotation: dict[str, Any], contiguous: dict[Any, int], has_masks: bool, num_keypoints: int
) -> dict[str, Any]:
    """One instance for Detectron2, whose mask and keypoint training takes all instances of an image or none.

    In a dataset with masks, an instance without a usable segmentation gets its box as polygon; in one with keypoints,
    an instance without gets keypoints that are not visible.
    """
    result = {
        "bbox": annotation["bbox"],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": contiguous[annotation["category_id"]],
        "iscrowd": annotation.get("iscrowd") or 0,
    }
    segmentation = usable_segmentation(annotation)
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        segmentation = mask_utils.frPyObjects(segmentation, *segmentation["size"])  # the mapper expects compressed RLE
    if segmentation is not None:
        result["segmentation"] = segmentation
    elif has_masks:
        result["segmentation"] = [box_polygon(annotation["bbox"])]
    if keypoints := annotation.get("keypoints") or [0] * (3 * num_keypoints):
        # COCO's coordinates are pixel indices, Detectron2's are measured from pixel corners: half a pixel apart.
        result["keypoints"] = [v if i % 3 == 2 else v + 0.5 for i, v in enumerate(keypoints)]
    return result


def _evaluation_format_of_json(json_file: Path) -> Format:
    """Search for federated lists without parsing: an LVIS json takes seconds to parse and milliseconds to search.

    (A key whose value is null is no list.)
    """
    if json_file.stat().st_size == 0:
        return "coco"
    with json_file.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return "lvis" if re.search(rb'"neg_category_ids"\s*:\s*\[', content) else "coco"
