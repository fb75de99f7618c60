#!/usr/bin/env python
"""Time and memory of lt_det's evaluation against `lvis`, on generated data with the class counts of LVIS v1.

Each measurement is a process of its own, so that its peak memory is its own. `lvis` is measured on few images, because
its time and memory grow with images x classes; what it would take for more is extrapolated.

python benchmarks/evaluation.py                                   # 500, 2000 and 19809 images; lvis on 500
python benchmarks/evaluation.py --images 500 --reference-images 500
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import resource
import tempfile
import time
from unittest import mock

import numpy as np
from pycocotools import mask as mask_utils
from rich.console import Console
from rich.table import Table

from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.average_precision import apply_limits, precision_table
from lt_det.evaluation.metrics.bootstrap import bootstrap
from lt_det.evaluation.protocols import FIXED, LVIS
from lt_det.io.options import Collected
from lt_det.statistics.buckets import FrequencyBuckets

NUM_CLASSES = 1203
PER_IMAGE = 300
DRAWS = 1000


def class_counts():
    from detectron2.data.datasets.lvis_v1_category_image_count import LVIS_CATEGORY_IMAGE_COUNT

    return np.array([entry["image_count"] for entry in LVIS_CATEGORY_IMAGE_COUNT], dtype=np.float64)


def generate(counts, num_images, seed=0):
    """About 12 objects an image, classes by LVIS's counts, and 300 detections, a third of them near an object."""
    rng = np.random.default_rng(seed)
    frequency = np.where(counts <= 10, "r", np.where(counts <= 100, "c", "f"))
    images, annotations, found = [], [], []
    for i in range(num_images):
        classes = np.unique(rng.choice(NUM_CLASSES, 4, p=counts / counts.sum()))
        others = rng.choice(NUM_CLASSES, 9)
        negative = [int(k) + 1 for k in others[:6] if k not in classes]
        incomplete = [int(k) + 1 for k in others[6:7]]
        images.append(
            {
                "id": i + 1,
                "height": 480,
                "width": 640,
                "neg_category_ids": negative,
                "not_exhaustive_category_ids": incomplete,
            }
        )
        labels = rng.choice(classes, 12)
        size = np.exp(rng.normal(4, 0.8, (12, 2))).clip(4, 300)
        boxes = np.concatenate([rng.random((12, 2)) * [400, 300], size], axis=1)
        for label, box in zip(labels, boxes, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": int(label) + 1,
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                }
            )
        near = rng.integers(12, size=100)
        jitter = rng.normal(0, 0.15, (100, 4)) * np.tile(boxes[near, 2:], 2)
        anywhere = np.concatenate([rng.random((200, 2)) * [400, 300], rng.random((200, 2)) * 200 + 4], axis=1)
        box = np.concatenate([boxes[near] + jitter, anywhere])
        box[:, 2:] = box[:, 2:].clip(1)
        known = np.concatenate([classes, [k - 1 for k in negative]]).astype(np.int64)
        label = np.concatenate([labels[near], rng.choice(known, 100), rng.choice(NUM_CLASSES, 100)])
        found.append((np.full(PER_IMAGE, i), label, rng.random(PER_IMAGE), box))
    categories = [{"id": k + 1, "name": str(k), "frequency": str(frequency[k])} for k in range(NUM_CLASSES)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return truth, Detections(*(np.concatenate(column) for column in zip(*found, strict=True)))


def measured(work, *arguments):
    """The result of `work`, run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(work, arguments)


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(counts, num_images, protocol):
    data, detections = generate(counts, num_images)
    context = EvaluationContext(GroundTruth.from_json(data), protocol)
    del data
    start = time.process_time()
    precision, _ = precision_table(context, apply_limits(match(context, detections, "bbox"), protocol))
    seconds = time.process_time() - start
    return seconds, peak_megabytes(), float(np.mean(precision[..., 0][precision[..., 0] > -1]))


def resampling(counts, num_images):
    """Seconds for the intervals of AP and of the buckets, after the matching pass that they share."""
    data, detections = generate(counts, num_images)
    buckets = FrequencyBuckets(("rare", "common", "frequent"), np.digitize(counts, [11, 101]))
    context = EvaluationContext(GroundTruth.from_json(data), LVIS, buckets)
    del data
    matches = match(context, detections, "bbox")
    start = time.process_time()
    bootstrap(context, apply_limits(matches, LVIS), DRAWS)
    return time.process_time() - start, peak_megabytes(), float("nan")


def masks(counts, num_images):
    """Seconds for masks, and the part inside pycocotools. Each mask is the ellipse in its box."""
    data, detections = generate(counts, num_images)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)

    def ellipse(box):
        x, y, w, h = box
        return np.stack([x + w * (1 + np.cos(angles)) / 2, y + h * (1 + np.sin(angles)) / 2], axis=1).ravel().tolist()

    for annotation in data["annotations"]:
        annotation["segmentation"] = [ellipse(annotation["bbox"])]
    context = EvaluationContext(GroundTruth.from_json(data), LVIS)
    found = [mask_utils.frPyObjects([ellipse(box)], 480, 640)[0] for box in detections.boxes]
    detections = dataclasses.replace(detections, masks=found)
    inside = 0.0

    def timed(function):
        def call(*arguments):
            nonlocal inside
            start = time.process_time()
            result = function(*arguments)
            inside += time.process_time() - start
            return result

        return call

    with contextlib.ExitStack() as stack:
        for name in ("iou", "area", "frPyObjects", "merge"):
            stack.enter_context(mock.patch.object(mask_utils, name, timed(getattr(mask_utils, name))))
        start = time.process_time()
        precision_table(context, apply_limits(match(context, detections, "segm"), LVIS))
        return time.process_time() - start, inside


def with_hotcoco(counts, num_images):
    """Seconds of hotcoco to match and to average on one thread, without loading its results."""
    import hotcoco

    data, detections = generate(counts, num_images)
    results = [
        {"image_id": int(i) + 1, "category_id": int(k) + 1, "score": float(s), "bbox": box.tolist()}
        for i, k, s, box in zip(detections.images, detections.classes, detections.scores, detections.boxes, strict=True)
    ]
    for annotation in data["annotations"]:
        annotation["iscrowd"] = 0
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(data, file)
        file.flush()
        truth = hotcoco.LVIS(file.name)
    evaluation = hotcoco.LVISEval(truth, hotcoco.LVISResults(truth, results), "bbox")
    del data, detections, results
    start = time.process_time()
    evaluation.evaluate()
    evaluation.accumulate()
    seconds = time.process_time() - start
    table = np.asarray(evaluation.eval["precision"])[..., 0, -1]
    return seconds, peak_megabytes(), float(np.mean(table[table > -1]))


def sorting(counts, num_images):
    """Seconds to sort all scores within their classes, which AP-Fixed requires."""
    _, detections = generate(counts, num_images)
    start = time.process_time()
    np.lexsort((-detections.scores, detections.classes))
    return time.process_time() - start


def reference(counts, num_images):
    """`lvis`, from loaded dictionaries to its summary."""
    import copy
    import io

    from lvis import LVIS as LvisTruth
    from lvis import LVISEval, LVISResults

    np.float = float  # lvis 0.5.3 uses it, NumPy removed it

    class Loaded(LvisTruth):
        def _load_json(self, path):
            return path

    data, detections = generate(counts, num_images)
    results = [
        {"image_id": int(i) + 1, "category_id": int(k) + 1, "score": float(s), "bbox": box.tolist()}
        for i, k, s, box in zip(detections.images, detections.classes, detections.scores, detections.boxes, strict=True)
    ]
    del detections
    truth = Loaded(data)
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = LVISEval(truth, LVISResults(truth, copy.copy(results)), "bbox")
        evaluation.run()
    return time.process_time() - start, peak_megabytes(), float(evaluation.get_results()["AP"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", action=Collected, default=[500, 2000, 19809])
    parser.add_argument("--reference-images", type=int, default=500)
    parser.add_argument("--hotcoco-images", type=int, default=2000)
    parser.add_argument("--mask-images", type=int, default=200)
    parser.add_argument("--json", help="also write the figures here")
    args = parser.parse_args()

    table = Table(title=f"LVIS bbox, {NUM_CLASSES} classes, {PER_IMAGE} detections an image, CPU seconds on one core")
    for column in ("", "images", "seconds", "ms / image", "peak MB", "lvis / this, per image", "AP"):
        table.add_column(column, justify="left" if not column else "right")
    counts = measured(class_counts)  # Detectron2 brings torch, whose memory is not the evaluation's
    seconds, memory, ap = measured(reference, counts, args.reference_images)
    per_image = seconds / args.reference_images
    rows = [("lvis", args.reference_images, seconds, memory, ap)]
    for num_images in args.images:
        for name, protocol in (("ours", LVIS), ("ours, AP-Fixed", FIXED)):
            spent, peak, ap = measured(ours, counts, num_images, protocol)
            rows.append((name, num_images, spent, peak, ap))
        rows.append((f"{DRAWS} draws", num_images, *measured(resampling, counts, num_images)))
        rows.append(("sorting the scores", num_images, measured(sorting, counts, num_images), 0.0, float("nan")))
    if importlib.util.find_spec("hotcoco"):
        os.environ["RAYON_NUM_THREADS"] = "1"
        rows.append(("hotcoco", args.hotcoco_images, *measured(with_hotcoco, counts, args.hotcoco_images)))
    for name, num_images, spent, peak, ap in rows:
        table.add_row(
            name,
            str(num_images),
            f"{spent:.2f}",
            f"{1000 * spent / num_images:.3f}",
            f"{peak:.0f}" if peak else "",
            f"{per_image * num_images / spent:.0f}" if name.startswith("ours") else "",
            "" if np.isnan(ap) else repr(ap),
        )
    Console(width=130).print(table)
    spent, inside = measured(masks, counts, args.mask_images)
    print(
        f"Masks of {args.mask_images} images: {spent:.1f} s, of which {inside:.1f} s ({inside / spent:.0%}) inside "
        "pycocotools."
    )
    print(f"lvis for 19809 images, by its time per image: {per_image * 19809:.0f} s.")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file)


if __name__ == "__main__":
    main()
