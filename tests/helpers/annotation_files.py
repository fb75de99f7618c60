"""Annotation files with the traits of real ones, for clones without the real files."""

import json

import numpy as np


def write_litter(path):
    """A COCO-format file like TACO's, with the mistakes and oddities of real files; returns its path.

    240 photographs of different sizes with ids from 0; 12 classes with 120 to 1 images and one that is never annotated;
    objects of several parts, of one pixel, without a mask and larger than a quarter of their image; a crowd region in
    RLE; two annotation ids that are used twice, and a box that leaves its image.
    """
    rng = np.random.default_rng(0)
    sizes = [(640, 480), (480, 640), (1537, 2049), (4032, 3024)]
    images = []
    for number in range(240):
        width, height = sizes[rng.integers(len(sizes))]
        images.append({"id": number, "width": width, "height": height, "file_name": f"batch_1/{number:06d}.jpg"})
    names = [*(f"litter {number}" for number in range(12)), "Plastified paper bag"]  # as in TACO, never annotated
    annotations = []
    for category in range(12):
        for image in rng.permutation(240)[: round(120 / 1.545**category)].tolist():
            for _ in range(1 + (rng.random() < 0.2)):
                annotations.append(
                    _annotation(rng, len(annotations) + 1, images[image], category, parts=rng.integers(1, 4))
                )
    for image in range(0, 240, 7):  # every image but few has an object
        annotations.append(_annotation(rng, len(annotations) + 1, images[image], 0, parts=1))
    large, tiny, boxed, crowd, outside = annotations[:5]
    width, height = (images[large["image_id"]][side] for side in ("width", "height"))
    large |= _shape([[0.1 * width, 0.1 * height, 0.9 * width, 0.1 * height, 0.9 * width, 0.9 * height]])
    tiny |= _shape([[5, 5, 6, 5, 6, 6, 5, 6]])
    del boxed["segmentation"]
    width, height = (images[crowd["image_id"]][side] for side in ("width", "height"))
    runs = [0, height * width // 8, height * width - height * width // 8]
    crowd |= {"iscrowd": 1, "segmentation": {"size": [height, width], "counts": runs}}
    crowd |= {"bbox": [0, 0, width // 8, height], "area": runs[1]}
    outside["bbox"] = [10, -30, 60, 90]
    for first, second in ((10, 11), (400 % len(annotations), 77)):
        annotations[first]["id"] = annotations[second]["id"]
    return _write(path, images, annotations, [{"id": k, "name": name} for k, name in enumerate(names)])


def write_lvis_sample(path):
    """An LVIS-format file like 100 images of LVIS val; returns its path.

    60 images; 80 classes with ids that have gaps, listed with their counts and frequencies, many of them without an
    object; federated lists of absent classes and of classes not exhaustively annotated; masks of several parts.
    """
    rng = np.random.default_rng(1)
    images, annotations = [], []
    ids = [2 * k + 5 for k in range(80)]
    for number in range(60):
        name = f"val2017/{number:012d}.jpg"
        image = {"id": 3 * number + 1, "width": 640, "height": 480, "file_name": name}
        present = rng.choice(ids[:50], size=rng.integers(1, 6), replace=False, p=_long_tail_probabilities(50)).tolist()
        absent = [category for category in ids if category not in present]
        image["neg_category_ids"] = rng.choice(absent, size=10, replace=False).tolist()
        image["not_exhaustive_category_ids"] = present[:1] if number % 5 == 0 else []
        images.append(image | {"coco_url": f"http://images.cocodataset.org/{name}"})
        for category in present:
            for _ in range(rng.integers(1, 5)):
                parts = rng.integers(1, 3)
                annotations.append(_annotation(rng, len(annotations) + 1, image, category, parts))
    categories = []
    for k, id_ in enumerate(ids):
        of_class = [a["image_id"] for a in annotations if a["category_id"] == id_]
        category = {"id": id_, "name": f"thing_{k}", "synset": f"thing_{k}.n.01", "synonyms": [f"thing_{k}"], "def": ""}
        frequency = "r" if k % 3 == 0 else "c" if k % 3 == 1 else "f"
        counts = {"image_count": len(set(of_class)), "instance_count": len(of_class)}
        categories.append(category | counts | {"frequency": frequency})
    return _write(path, images, annotations, categories)


def _long_tail_probabilities(classes):
    """The probability of each class: that of the k-th is proportional to 1 / k."""
    weights = 1 / np.arange(1, classes + 1)
    return weights / weights.sum()


def _annotation(rng, id_, image, category, parts):
    """An object of some quadrilaterals inside the image, of a fortieth to a quarter of its sides."""
    scale = np.exp(rng.uniform(np.log(1 / 40), np.log(1 / 4)))
    sides = np.array([image["width"], image["height"]]) * scale
    corner = rng.uniform(0, [image["width"] - 2 * sides[0], image["height"] - 2 * sides[1]])
    polygons = []
    for _ in range(parts):
        low = corner + rng.uniform(0, 0.5, 2) * sides
        width, height = rng.uniform(0.4, 1.4, 2) * sides
        (x, y), lean = low, 0.2 * width
        polygon = [x + lean, y, x + width, y, x + width - lean, y + height, x, y + height]
        polygons.append([round(float(value), 1) for value in polygon])
    return {"id": id_, "image_id": image["id"], "category_id": int(category), "iscrowd": 0, **_shape(polygons)}


def _shape(polygons):
    """Masks, box and area of an object; overlaps of its parts count twice, as in files that people write."""
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    return {"segmentation": polygons, "bbox": box, "area": sum(map(_area, polygons))}


def _area(polygon):
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2


def _write(path, images, annotations, categories):
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
