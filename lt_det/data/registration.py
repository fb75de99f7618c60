"""Register LVIS- and COCO-format data sets under any name."""

from __future__ import annotations

import logging
import mmap
import os
import re
from pathlib import Path
from typing import Any, Literal

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools import mask as mask_utils

from lt_det.errors import LtDetError
from lt_det.io.coco_json import box_polygon, check_annotations, image_file_name, load_annotations, usable_segmentation

logger = logging.getLogger(__name__)

Format = Literal["lvis", "coco"]

# Under DETECTRON2_DATASETS beside Detectron2's own sets; `lt-det mini-lvis` writes it.
BUILTIN = {name: ("mini_lvis", f"mini_lvis/{name}.json") for name in ("mini_lvis_train", "mini_lvis_val")}


def register_dataset(
    name: str,
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    format: Format | None = None,
) -> None:
    """Make an annotation file known to Detectron2 as `name`. The file is read when the set is first used.

    Category ids need not be contiguous; classes are ordered by id. Federated lists (``neg_category_ids``,
    ``not_exhaustive_category_ids``) are used where there are any.

    Args:
        name: any name; registering the same files twice under it is allowed.
        json_file: COCO- or LVIS-format annotations.
        image_root: folder that the image names in the json are relative to.
        format: how to evaluate, "lvis" (federated) or "coco". None: "lvis" if the json has federated lists; of a json
            that is not there yet this is found out when the set is judged.

    Raises:
        LtDetError: the name belongs to another data set, or the format is unknown.
    """
    if format not in (None, "lvis", "coco"):
        raise LtDetError(f"Data set '{name}': FORMAT is '{format}'; write lvis, coco, or leave it out.")
    json_path, image_path = _expand(json_file), _expand(image_root)
    if name in DatasetCatalog:
        metadata = MetadataCatalog.get(name)
        if (metadata.get("json_file"), metadata.get("image_root")) == (json_path, image_path):
            known = metadata.get("evaluator_type")
            if format is None or format == known:
                return
            raise LtDetError(f"A data set '{name}' is registered already as {known}, not {format}.")
        raise LtDetError(
            f"A data set '{name}' is registered already with {metadata.get('json_file')}; choose another name."
        )
    DatasetCatalog.register(name, lambda: load_dataset(json_path, image_path, name))
    MetadataCatalog.get(name).set(json_file=json_path, image_root=image_path)
    if format or Path(json_path).is_file():
        MetadataCatalog.get(name).set(evaluator_type=format or _detect_format(Path(json_path)))


def evaluation_format(name: str) -> Format:
    """How to evaluate a registered set that has a json: as it was registered, else by what the json has."""
    metadata = MetadataCatalog.get(name)
    return metadata.get("evaluator_type") or _detect_format(Path(metadata.json_file))


def register_from_config(cfg: Any) -> None:
    """Register what ``DATASETS.REGISTER`` lists: ``name: {JSON: path, IMAGES: folder[, FORMAT: lvis|coco]}``.

    Raises:
        LtDetError: an entry without JSON or IMAGES, or with another key.
    """
    for name, entry in cfg.DATASETS.REGISTER.items():
        keys = {key for key, value in entry.items() if value} if isinstance(entry, dict) else set()
        if not {"JSON", "IMAGES"} <= keys <= {"JSON", "IMAGES", "FORMAT"}:
            raise LtDetError(
                f"DATASETS.REGISTER.{name} needs the keys JSON and IMAGES (and may have FORMAT), but has "
                f"{sorted(keys) or entry}."
            )
        register_dataset(name, entry["JSON"], entry["IMAGES"], entry.get("FORMAT"))


def register_builtin() -> None:
    """Register lt_det's generated set under DETECTRON2_DATASETS, as Detectron2 does with LVIS and COCO.

    A set of the user's under such a name stays.
    """
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    for name, (image_root, json_file) in BUILTIN.items():
        if name not in DatasetCatalog:
            register_dataset(name, root / json_file, root / image_root, "lvis")


def load_dataset(json_file: str, image_root: str, name: str | None = None) -> list[dict[str, Any]]:
    """Read and check annotations and return them as Detectron2 dictionaries, sorted by image id.

    Args:
        json_file, image_root: see `register_dataset`.
        name: the registered name whose metadata gets the class names and the id mapping.

    Raises:
        LtDetError: see `load_annotations` and `check_annotations`.
    """
    data = load_annotations(json_file)
    check_annotations(data, json_file, image_root)
    return records_of(data, json_file, image_root, name)


def records_of(data: dict[str, Any], json_file: str, image_root: str, name: str | None = None) -> list[dict[str, Any]]:
    """Loaded and checked annotations as Detectron2 dictionaries; see `load_dataset`."""
    categories = sorted(data["categories"], key=lambda category: category["id"])
    contiguous = {category["id"]: k for k, category in enumerate(categories)}
    if name is not None:
        MetadataCatalog.get(name).set(
            thing_classes=[category["name"] for category in categories],
            thing_dataset_id_to_contiguous_id=contiguous,
        )
    annotations: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
    outlined = any(annotation.get("segmentation") for annotation in data["annotations"])
    for annotation in data["annotations"]:
        annotations[annotation["image_id"]].append(_annotation_dict(annotation, contiguous, outlined))
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
    logger.info("Loaded %d images and %d annotations from %s", len(records), len(data["annotations"]), json_file)
    return records


def _annotation_dict(annotation: dict[str, Any], contiguous: dict[Any, int], outlined: bool) -> dict[str, Any]:
    """One instance for Detectron2. In a set with outlines, an instance without a usable one gets its box as outline:
    Detectron2's mask training takes all instances of an image or none."""
    result = {
        "bbox": annotation["bbox"],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": contiguous[annotation["category_id"]],
        "iscrowd": annotation.get("iscrowd") or 0,
    }
    segmentation = usable_segmentation(annotation)
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        segmentation = mask_utils.frPyObjects(segmentation, *segmentation["size"])  # the mapper wants it compressed
    if segmentation is not None:
        result["segmentation"] = segmentation
    elif outlined:
        result["segmentation"] = [box_polygon(annotation["bbox"])]
    if annotation.get("keypoints"):
        # COCO counts pixels as integers, Detectron2 puts coordinates at pixel corners: half a pixel apart.
        keypoints = annotation["keypoints"]
        result["keypoints"] = [v if i % 3 == 2 else v + 0.5 for i, v in enumerate(keypoints)]
    return result


def _expand(path: str | os.PathLike[str]) -> str:
    return os.path.expanduser(os.path.expandvars(os.fspath(path)))


def _detect_format(json_file: Path) -> Format:
    """Look for the federated lists (null is none) without parsing: an LVIS json takes seconds to parse and milliseconds
    to search."""
    if json_file.stat().st_size == 0:
        return "coco"
    with json_file.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return "lvis" if re.search(rb'"neg_category_ids"\s*:\s*\[', content) else "coco"
