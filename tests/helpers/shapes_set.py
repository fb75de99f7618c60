"""Datasets of simple shapes in COCO format, with images that a detector can be trained on."""

import json

import cv2
import numpy as np

COLORS = {"disk": (200, 40, 40), "bar": (40, 200, 40), "block": (40, 40, 200)}


def write_shapes(
    folder, name="shapes", images=12, classes=("disk", "bar", "block"), size=(160, 120), masks=True, start=1
):
    """Each image has one object of each class; those of class k in every (k + 1)-th image. Returns the json's path.

    Args:
        folder: for NAME.json and the folder ``images``.
        size: width and height of the images.
        masks: whether objects have segmentations.
        start: number of the first image.
    """
    rng = np.random.default_rng(start)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    records, annotations = [], []
    for number in range(start, start + images):
        pixels = rng.integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
        for k in range(len(classes)):
            if number % (k + 1):
                continue
            width, height = (int(side) for side in rng.integers(20, 50, 2))
            x, y = (int(rng.integers(0, edge - side)) for edge, side in zip(size, (width, height), strict=True))
            cv2.rectangle(pixels, (x, y), (x + width - 1, y + height - 1), list(COLORS.values())[k], -1)
            polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": k + 1, "iscrowd": 0}
                | {"bbox": [x, y, width, height], "area": width * height}
                | ({"segmentation": [polygon]} if masks else {})
            )
        cv2.imwrite(str(folder / "images" / f"{number:04d}.png"), pixels)
        records.append({"id": number, "file_name": f"{number:04d}.png", "width": size[0], "height": size[1]})
    categories = [{"id": k + 1, "name": class_} for k, class_ in enumerate(classes)]
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"images": records, "annotations": annotations, "categories": categories}))
    return file
