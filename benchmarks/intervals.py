#!/usr/bin/env python
"""How often a 95 % bootstrap interval holds the mean AP of all sets of its size, on generated data.

Sets of images are taken from a large one and resampled. Printed is the fraction of intervals that cover the mean over
the sets: for plain percentiles, for percentiles shifted to the estimate (as in lt_det), and for mirrored ones.
"""

import argparse

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.average_precision import apply_limits
from lt_det.evaluation.metrics.bootstrap import BootstrapCurves
from lt_det.evaluation.metrics.intervals import interval
from lt_det.evaluation.protocols import LVIS

NUM_CLASSES = 40
RARE = 14  # the first classes


def generate(num_images, rng):
    """Classes in 0.25 % to 60 % of the images, and a detector that confuses, misses and invents some."""
    frequencies = np.geomspace(0.0025, 0.6, NUM_CLASSES)
    images, annotations, found = [], [], []

    def detection(image, category, score, box):
        found.append({"image_id": image, "category_id": category, "score": float(score), "bbox": box})

    for image in range(1, num_images + 1):
        present = np.flatnonzero(rng.random(NUM_CLASSES) < frequencies)
        absent = np.setdiff1d(rng.choice(NUM_CLASSES, 12, replace=False), present)
        lists = {"neg_category_ids": (absent + 1).tolist(), "not_exhaustive_category_ids": []}
        images.append({"id": image, "height": 500, "width": 500, **lists})
        for k in np.repeat(present, rng.integers(1, 3, len(present))):
            box = np.concatenate([rng.random(2) * 400, rng.random(2) * 80 + 15])
            record = {
                "image_id": image,
                "category_id": int(k) + 1,
                "bbox": box.tolist(),
                "area": float(box[2] * box[3]),
            }
            annotations.append({"id": len(annotations) + 1, **record})
            if rng.random() < 0.85:
                said = int(k) if rng.random() < 0.75 else int(rng.integers(NUM_CLASSES))
                near = box + rng.normal(0, 0.1, 4) * np.tile(box[2:], 2)
                detection(image, said + 1, rng.beta(3, 2), np.maximum(near, [-99, -99, 1, 1]).tolist())
        for k in rng.integers(NUM_CLASSES, size=20):
            detection(image, int(k) + 1, rng.beta(1, 4), [*(rng.random(2) * 400), 40.0, 40.0])
    categories = [{"id": k + 1, "name": str(k)} for k in range(NUM_CLASSES)]
    truth = GroundTruth.from_json({"images": images, "annotations": annotations, "categories": categories})
    return truth, Detections.from_results(Results.from_list(found, ["bbox"]), truth, "bbox")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8000, help="images of the large set")
    parser.add_argument("--taken", type=int, default=400, help="images of each set taken from it")
    parser.add_argument("--sets", type=int, default=150)
    parser.add_argument("--draws", type=int, default=200)
    args = parser.parse_args()

    rng = np.random.default_rng(1)
    truth, detections = generate(args.images, rng)
    context = EvaluationContext(truth, LVIS)
    curves = BootstrapCurves.from_matches(context, apply_limits(match(context, detections, "bbox"), LVIS))

    def ap(images):
        """Mean over all classes, and over the rare ones."""
        values, known = curves.average_precision(np.bincount(images, minlength=args.images))
        values = 100 * values.mean(axis=0)
        return values[known].mean(), values[:RARE][known[:RARE]].mean()

    measured, drawn = [], []
    for _ in track(range(args.sets), "Resampling"):
        taken = rng.choice(args.images, args.taken, replace=False)
        measured.append(ap(taken))
        drawn.append([ap(rng.choice(taken, args.taken)) for _ in range(args.draws)])
    measured, drawn = np.asarray(measured), np.asarray(drawn)

    table = Table(
        title=f"{args.sets} sets of {args.taken} images, {args.draws} draws each: fraction of intervals that cover it"
    )
    for column in ("", "mean AP", "sd of AP", "mean of draws less AP", "percentiles", "shifted (lt_det)", "mirrored"):
        table.add_column(column, justify="left" if not column else "right")
    for place, name in enumerate(("all classes", "rare classes")):
        estimates, draws = measured[:, place], drawn[:, :, place]
        mean = estimates.mean()
        low, high = np.nanpercentile(draws, [2.5, 97.5], axis=1)
        ours = [interval(set_draws, estimate) for set_draws, estimate in zip(draws, estimates, strict=True)]
        covers = (
            (low <= mean) & (mean <= high),
            [ends is not None and ends[0] <= mean <= ends[1] for ends in ours],
            (2 * estimates - high <= mean) & (mean <= 2 * estimates - low),
        )
        bias = (np.nanmean(draws, axis=1) - estimates).mean()
        numbers = (mean, estimates.std(), bias)
        table.add_row(name, *(f"{number:.2f}" for number in numbers), *(f"{np.mean(hits):.0%}" for hits in covers))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
