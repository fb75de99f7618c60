"""Generate an annotation file with the size and structure of LVIS v1's training set."""

import json

import numpy as np
from detectron2.data.datasets.lvis_v1_categories import LVIS_CATEGORIES
from detectron2.data.datasets.lvis_v1_category_image_count import LVIS_CATEGORY_IMAGE_COUNT

IMAGES, ANNOTATIONS = 100_170, 1_270_141  # of lvis_v1_train.json


def write_lvis_json(path, num_images=IMAGES, seed=0):
    """Write a file with LVIS v1's categories, each in its fraction of the images, and polygons as long as LVIS's.

    The file is written image by image, which takes little memory. Returns the number of annotations.
    """
    rng = np.random.default_rng(seed)
    image_classes = _classes_of_images(num_images, rng)
    pairs = sum(map(len, image_classes))
    extra = ANNOTATIONS * num_images / IMAGES / pairs - 1  # mean number of further instances of a class in an image
    counts = np.zeros(len(LVIS_CATEGORIES), dtype=np.int64)
    written = 0
    with open(path, "w") as file:
        file.write('{"info": {"description": "generated"}, "licenses": [], "annotations": [')
        for image_id, classes in enumerate(image_classes, 1):
            labels = np.repeat(classes, 1 + rng.geometric(1 / (1 + extra), len(classes)) - 1)
            counts += np.bincount(labels, minlength=len(counts))
            for annotation in _annotations(labels, image_id, written + 1, rng):
                file.write((", " if written else "") + json.dumps(annotation))
                written += 1
        file.write('], "images": [')
        for image_id, classes in enumerate(image_classes, 1):
            file.write((", " if image_id > 1 else "") + json.dumps(_image(image_id, classes, rng)))
        occurs = np.bincount(np.concatenate(image_classes), minlength=len(counts))
        categories = [
            {**category, "image_count": int(occurs[k]), "instance_count": int(counts[k])}
            for k, category in enumerate(LVIS_CATEGORIES)
        ]
        file.write('], "categories": ' + json.dumps(categories) + "}")
    return written


def _classes_of_images(num_images, rng):
    """Class indices of each image; class k occurs in the same fraction of images as in LVIS v1."""
    classes, images = [], []
    for entry in LVIS_CATEGORY_IMAGE_COUNT:
        number = max(1, round(entry["image_count"] * num_images / IMAGES))
        images.append(rng.choice(num_images, number, replace=False))
        classes.append(np.full(number, entry["id"] - 1))
    images, classes = np.concatenate(images), np.concatenate(classes)
    order = np.argsort(images, kind="stable")
    return np.split(classes[order], np.searchsorted(images[order], np.arange(1, num_images)))


def _annotations(labels, image_id, first_id, rng):
    for index, label in enumerate(labels.tolist()):
        points = int(np.exp(rng.normal(3.55, 0.75)).clip(4, 800))
        angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
        half = np.exp(rng.normal(3.2, 0.8, 2)).clip(2, 200)
        center = half + rng.random(2) * ([640, 480] - 2 * half)
        ring = center + half * np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.8, 1, (points, 1))
        ring = ring.round(2)
        low, size = ring.min(axis=0), np.ptp(ring, axis=0)
        yield {
            "area": round(float(size.prod() * 0.7), 2),
            "id": first_id + index,
            "segmentation": [ring.ravel().tolist()],
            "image_id": image_id,
            "bbox": [*low.tolist(), *size.round(2).tolist()],
            "category_id": label + 1,
        }


def _image(image_id, classes, rng):
    absent = np.setdiff1d(rng.choice(len(LVIS_CATEGORIES), 7), classes)
    return {
        "date_captured": "2013-11-14 11:18:45",
        "neg_category_ids": (absent + 1).tolist(),
        "license": 3,
        "height": 480,
        "width": 640,
        "flickr_url": f"http://farm9.staticflickr.com/8186/{image_id:010d}_6ab41ce5cb_z.jpg",
        "coco_url": f"http://images.cocodataset.org/train2017/{image_id:012d}.jpg",
        "not_exhaustive_category_ids": (classes[:1] + 1).tolist() if rng.random() < 0.3 else [],
        "id": image_id,
    }
