"""The annotations of a dataset that a user's own function makes without a file, as in Detectron2's tutorial."""

from __future__ import annotations

from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode, PolygonMasks
from pycocotools import mask as mask_utils

from lt_det.errors import LtDetError
from lt_det.io.annotations.fields import normalized_annotations


def annotations_of_function(name: str) -> dict[str, Any]:
    """What the function of a dataset returns, in COCO's structure.

    Boxes are rounded to 0.001 pixels, and the area of an object is that of its mask, if it has one: Detectron2's
    COCOEvaluator converts such a dataset in the same way. The records stay as they are.

    Args:
        name: a dataset in DatasetCatalog, with ``thing_classes`` in its metadata.

    Raises:
        LtDetError: there is no such dataset, its function fails, or a record lacks a key that evaluation needs.
    """
    if name not in DatasetCatalog:
        raise LtDetError(f"There is no dataset '{name}'; register it before it is evaluated.")
    try:
        records = DatasetCatalog.get(name)  # which may set the metadata, as Detectron2's own functions do
        metadata = MetadataCatalog.get(name)
        if (classes := metadata.get("thing_classes")) is None:
            raise LtDetError(
                f"'{name}' has no metadata thing_classes; set it with MetadataCatalog.get('{name}').set(...)."
            )
        class_of = metadata.get("thing_dataset_id_to_contiguous_id") or {k: k for k in range(len(classes))}
        id_of = {k: id_ for id_, k in class_of.items()}
        images, annotations = [], []
        for index, record in enumerate(records):
            image = {key: record[key] for key in ("file_name", "height", "width")}
            images.append({**image, "file_name": str(image["file_name"]), "id": record.get("image_id", index)})
            annotations += [(images[-1]["id"], _annotation(found, id_of)) for found in record.get("annotations", ())]
        categories = [{"id": id_of[k], "name": class_name} for k, class_name in enumerate(classes)]
    except LtDetError:
        raise
    except Exception as error:  # a user's program can fail in any way
        raise LtDetError(
            f"The function that makes the dataset '{name}' fails, or its records are not in Detectron2's format "
            f"({type(error).__name__}: {error}); each needs file_name, height, width and annotations, and each "
            "annotation bbox, bbox_mode and category_id, a class from 0 on."
        ) from error
    numbered = [{"id": k, "image_id": image_id, **found} for k, (image_id, found) in enumerate(annotations, 1)]
    return normalized_annotations({"images": images, "annotations": numbered, "categories": categories}, f"'{name}'")


def _annotation(found: dict[str, Any], id_of: dict[int, Any]) -> dict[str, Any]:
    x, y, width, height = BoxMode.convert(list(map(float, found["bbox"])), found["bbox_mode"], BoxMode.XYWH_ABS)
    result: dict[str, Any] = {
        "bbox": [round(side, 3) for side in (x, y, width, height)],
        "area": width * height,
        "iscrowd": int(found.get("iscrowd", 0)),
        "category_id": id_of[int(found["category_id"])],
    }
    segmentation = found.get("segmentation")
    if segmentation is not None and len(segmentation):
        compressed = isinstance(segmentation, dict)
        area = mask_utils.area(segmentation) if compressed else PolygonMasks([segmentation]).area()[0]
        result |= {"segmentation": segmentation, "area": float(area)}
    return result
