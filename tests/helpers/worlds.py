"""Generated ground truth and detections for the tests of the evaluation, and a slow loop that classifies them."""

import numpy as np
from pycocotools import mask as mask_utils

from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.average_precision import apply_limits, precision_table
from lt_det.evaluation.protocols import Protocol
from lt_det.io.shapes import box_polygon
from lt_det.statistics.buckets import FrequencyBuckets


def context_of(data, protocol, *buckets):
    return EvaluationContext(GroundTruth.from_json(data), protocol, *buckets)


def as_detections(results, truth, task):
    return Detections.from_results(Results.from_list(results, [task]), truth, task)


def to_rle(polygons, size):
    return mask_utils.merge(mask_utils.frPyObjects(polygons, *size))


def polygons_of(annotation):
    """The polygons of an annotation; those of its box for a crowd region in RLE and for an object without a mask."""
    polygons = annotation.get("segmentation")
    return polygons if isinstance(polygons, list) else [box_polygon(annotation["bbox"])]


def noisy_detections(ground_truth, seed=0, drop=0.3, extra=300):
    """Jittered copies of the ground truth, some missing, some with a wrong class, and random boxes."""
    rng = np.random.default_rng(seed)
    categories = [category["id"] for category in ground_truth["categories"]]
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    detections = []
    for annotation in ground_truth["annotations"]:
        if rng.random() < drop:
            continue
        x, y, w, h = annotation["bbox"]
        jitter = rng.normal(0, 0.08, 4) * [w, h, w, h]
        category = annotation["category_id"] if rng.random() > 0.15 else int(rng.choice(categories))
        box = [x + jitter[0], y + jitter[1], max(w + jitter[2], 1), max(h + jitter[3], 1)]
        detections.append(
            {"image_id": annotation["image_id"], "category_id": category, "score": rng.random(), "bbox": box}
            | {"segmentation": to_rle(polygons_of(annotation), sizes[annotation["image_id"]])}
        )
    for _ in range(extra):
        image = rng.choice(ground_truth["images"])
        box = [rng.random() * image["width"] / 2, rng.random() * image["height"] / 2, 20.0, 30.0]
        detections.append(
            {"image_id": image["id"], "category_id": int(rng.choice(categories)), "score": rng.random(), "bbox": box}
        )
    return detections


SIZE = 120


def small_world(seed, masks=False):
    """A few images of overlapping objects, and detections with ties, duplicates and wrong classes.

    Coordinates are coarse, so that equal overlaps and areas at the edges of the ranges occur; some images have no
    object, some no detection, some classes neither.
    """
    rng = np.random.default_rng(seed)
    num_images, num_classes = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    image_ids = rng.permutation(50)[:num_images]
    category_ids = rng.permutation(20)[:num_classes] + 1

    def box():
        x, y = rng.integers(0, 4, 2) * 8.0
        w, h = rng.choice([0, 4, 8, 16, 24, 32, 64, 96], 2)
        return [x, y, float(w), float(h)]

    def some_classes():
        return [int(c) for c in category_ids if rng.random() < 0.4]

    truth = {
        "images": [
            {
                "id": int(i),
                "height": SIZE,
                "width": SIZE,
                "neg_category_ids": some_classes(),
                "not_exhaustive_category_ids": some_classes(),
            }
            for i in image_ids
        ],
        "categories": [{"id": int(c), "name": str(c)} for c in category_ids],
        "annotations": [],
    }
    for number in range(rng.integers(1, 15)):
        x, y, w, h = bounds = box()
        truth["annotations"].append(
            {
                "id": number + 1,
                "image_id": int(rng.choice(image_ids)),
                "category_id": int(rng.choice(category_ids)),
                "bbox": bounds,
                "area": w * h * (1 if rng.random() < 0.8 else 0.5),
                "iscrowd": int(rng.random() < 0.2),
                "ignore": int(rng.random() < 0.2),
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
        )
    detections = []
    for _ in range(rng.integers(1, 40)):
        bounds = (
            box() if rng.random() < 0.4 else list(truth["annotations"][rng.integers(len(truth["annotations"]))]["bbox"])
        )
        if rng.random() < 0.5:
            bounds[int(rng.integers(4))] += float(rng.choice([-2, 2, 4]))
        x, y, w, h = bounds
        detection = {
            "image_id": int(rng.choice(image_ids)),
            "category_id": int(rng.choice(category_ids)),
            "score": float(rng.integers(0, 6) / 5),
            "bbox": bounds,
        }
        if masks:
            detection["segmentation"] = to_rle([[x, y, x + w, y, x + w, y + h, x, y + h]], (SIZE, SIZE))
        detections.append(detection)
    return truth, detections


def table_of(truth, detections, task, protocol, **options):
    context = context_of(truth, protocol)
    found = as_detections(detections, context.ground_truth, task)
    return table_of_matches(context, match(context, found, task, **options))


def table_of_matches(context, matches):
    return precision_table(context, apply_limits(matches, context.protocol))


FIXED_4 = Protocol("fixed", federated=True, per_class=4)  # few, so that small worlds reach it


def two_buckets(num_classes):
    return FrequencyBuckets(("even", "odd", "none"), np.arange(num_classes) % 2)


def slow_kinds(truth, detections, protocol, task):
    """Detections that count, with their kinds, and objects to find, with the errors that point at them."""
    category_ids = sorted(category["id"] for category in truth["categories"])
    dets = [{**d, "kind": None} for d in detections]
    kept = []
    image_ids = sorted(image["id"] for image in truth["images"])
    for image_id in image_ids:
        ranked = sorted((d for d in dets if d["image_id"] == image_id), key=lambda d: -d["score"])[: protocol.per_image]
        for c in category_ids:
            kept += [d for d in ranked if d["category_id"] == c][: protocol.per_image_and_class]
    if protocol.per_class is not None:
        best = [sorted((d for d in dets if d["category_id"] == c), key=lambda d: -d["score"]) for c in category_ids]
        chosen = [id(d) for of_class in best for d in of_class[: protocol.per_class]]
        kept = [d for d in kept if id(d) in chosen]

    objects = [{**a, "found": False, "errors": []} for a in truth["annotations"]]
    if protocol.federated:
        objects = [g for g in objects if g["area"] > 0]
    for g in objects:
        g["counts"] = not g.get("ignore" if protocol.federated else "iscrowd")
    for image in truth["images"]:
        _slow_image(
            image,
            [d for d in kept if d["image_id"] == image["id"]],
            [g for g in objects if g["image_id"] == image["id"]],
            protocol,
            task,
        )
    return [d for d in kept if d["kind"] != "neither"], [g for g in objects if g["counts"]]


def _slow_image(image, dets, objects, protocol, task):
    present = {g["category_id"] for g in objects} | set(image["neg_category_ids"])
    shape = "bbox" if task == "bbox" else "segmentation"

    def shape_of(thing):
        if task == "bbox" or isinstance(thing["segmentation"], dict):
            return thing[shape]
        return to_rle(thing["segmentation"], (image["height"], image["width"]))

    def iou(d, g, crowd=False):
        return mask_utils.iou([shape_of(d)], [shape_of(g)], [crowd])[0, 0]

    for d in sorted(dets, key=lambda d: -d["score"]):
        area = d["bbox"][2] * d["bbox"][3] if task == "bbox" else mask_utils.area(d["segmentation"])
        counts = area >= 0  # the area ranges begin there
        if protocol.federated:
            counts = area > 0 and d["category_id"] in present
            counts &= d["category_id"] not in image["not_exhaustive_category_ids"]
        best, best_iou = None, 0.5
        for want in (True, False):  # those to be found go first
            for g in objects:
                if g["category_id"] != d["category_id"] or g["counts"] != want:
                    continue
                crowd = bool(g.get("iscrowd")) and not protocol.federated
                if (not g["found"] or crowd) and iou(d, g, crowd) >= best_iou:
                    best, best_iou = g, iou(d, g, crowd)
            if best is not None:
                break
        if best is not None:
            best["found"] = True
            d["kind"] = "right" if best["counts"] else "neither"
        else:
            d["kind"] = "wrong" if counts else "neither"
    wanted = [g for g in objects if g["counts"]]
    for d in dets:
        if d["kind"] != "wrong":
            continue
        own = [(iou(d, g), n) for n, g in enumerate(wanted) if g["category_id"] == d["category_id"]]
        other = [(iou(d, g), n) for n, g in enumerate(wanted) if g["category_id"] != d["category_id"]]
        own_iou, own_best = max(own, default=(0, None))
        other_iou, other_best = max(other, default=(0, None))
        if 0.1 <= own_iou < 0.5:
            d["kind"] = "localization"
            wanted[own_best]["errors"].append(d)
        elif other_iou >= 0.5:
            d["kind"] = "classification"
            wanted[other_best]["errors"].append(d)
        elif own_iou >= 0.5:
            d["kind"] = "duplicate"
        elif other_iou <= 0.1:
            d["kind"] = "background"
        else:
            d["kind"] = "both"


A, B = 1, 2


OBJECT = [0.0, 0.0, 20.0, 20.0]


NEAR = [10.0, 0.0, 20.0, 20.0]  # IoU with OBJECT 200 / 600


CLOSE = [2.0, 0.0, 20.0, 20.0]  # IoU with OBJECT 360 / 440


FAR = [80.0, 80.0, 20.0, 20.0]


OTHER = [50.0, 0.0, 20.0, 20.0]


def world(objects, detections, **image):
    """Objects (class, box) and detections (class, score, box) of one image."""
    return {
        "images": [{"id": 1, "height": SIZE, "width": SIZE, "neg_category_ids": [A, B]} | image],
        "categories": [{"id": A, "name": "a"}, {"id": B, "name": "b"}],
        "annotations": [
            {"id": n + 1, "image_id": 1, "category_id": c, "bbox": box, "area": 400.0} | dict(more)
            for n, (c, box, *more) in enumerate((g[0], g[1], *(g[2].items() if len(g) > 2 else ())) for g in objects)
        ],
    }, [{"image_id": 1, "category_id": c, "score": score, "bbox": box} for c, score, box in detections]
