"""EQL against sigmoid with more and fewer absent classes per image that the evaluation looks at.

LVIS evaluates an image on the classes that are in it and on a few that are known to be absent. Each image of mini_lvis
has 20 of these, so that false positives of a class count in far more images than on LVIS. Run in the root of the
repository on two trainings of plans/table2.yaml or plans/table4.yaml that still have their detections::

    python -m benchmarks.evidence.negatives output/evidence trainings/eql_3200_seed1 trainings/sigmoid_3200_seed1
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.plan import DEFAULT_DATASET, DEFAULT_FOLDER
from benchmarks.evidence.rows import DRAWN, circumstances, read_rows, write_row
from benchmarks.evidence.tables.markdown import header, line
from lt_det.evaluation import evaluate
from lt_det.evaluation.metrics.intervals import interval
from lt_det.terminal import signed, signed_interval

KIND = "negatives"
NUMBERS: tuple[int | None, ...] = (1, 5, 20, None)  # None: all absent classes, as in COCO
_DRAWS = 1000
_DETECTIONS = "inference/mini_lvis_val/instances_predictions.json"


def with_negatives(ground_truth: Mapping[str, Any], number: int | None) -> dict[str, Any]:
    """An LVIS ground truth with so many absent classes in each image, drawn at random; None for all of them."""
    present: dict[int, set[int]] = {}
    for annotation in ground_truth["annotations"]:
        present.setdefault(annotation["image_id"], set()).add(annotation["category_id"])
    generator = np.random.default_rng(0)
    images = []
    for image in ground_truth["images"]:
        absent = {category["id"] for category in ground_truth["categories"]} - present.get(image["id"], set())
        drawn = generator.permutation(sorted(absent))[:number].tolist()
        images.append({**image, "neg_category_ids": sorted(drawn)})
    return {**ground_truth, "images": images}


def compared(folders: Mapping[str, Path], ground_truth: Mapping[str, Any], train: Path) -> list[dict[str, Any]]:
    """For each of `NUMBERS`: the metrics of two trainings, and the first minus the second with its 95 % interval."""
    found = []
    for number in NUMBERS:
        content = with_negatives(ground_truth, number)
        metrics: dict[str, dict[str, float]] = {}
        draws = []
        for name, folder in folders.items():
            result = evaluate(content, folder / _DETECTIONS, train=train, draws=_DRAWS)
            resamples = result.evaluation.tasks["bbox"].resamples
            assert resamples is not None
            metrics[name] = {metric: result.metrics["bbox"][metric] for metric in DRAWN}
            draws.append({metric: np.array(resamples.values[metric], dtype=float) for metric in DRAWN})
        first, second = metrics.values()
        differences = {}
        for metric in DRAWN:
            value = first[metric] - second[metric]
            ends = interval(draws[0][metric] - draws[1][metric], value)
            assert ends is not None
            differences[metric] = [value, *ends]
        found.append({"negatives": number, "metrics": metrics, "differences": differences})
    return found


def table() -> str:
    """Markdown: one line for each dataset and number of absent classes."""
    lines = header("dataset", ["absent classes evaluated per image", *(f"{name}, EQL minus sigmoid" for name in DRAWN)])
    for row in read_rows(KIND).values():
        for one in row["numbers"]:
            texts = [
                f"{signed(value)} {signed_interval((low, high))}" for value, low, high in one["differences"].values()
            ]
            lines.append(line(row["dataset"], [str(one["negatives"] or "all"), *texts]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="working folder of the plan")
    parser.add_argument("row", help="DATASET/NAME of a training")
    parser.add_argument("baseline", help="that of the training it is compared with")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # of few absent classes, which is what is asked here
    kind = args.row.split("/")[0]
    dataset = DEFAULT_DATASET if kind == DEFAULT_FOLDER else kind
    data = args.work / "datasets" / dataset / "mini_lvis"
    ground_truth = json.loads((data / "mini_lvis_val.json").read_text())
    folders = {name: args.work / name for name in (args.row, args.baseline)}
    numbers = compared(folders, ground_truth, data / "mini_lvis_train.json")
    row = {**circumstances(), "dataset": dataset, "row": args.row, "baseline": args.baseline, "numbers": numbers}
    print(write_row(KIND, args.row.replace("/", "_"), row))


if __name__ == "__main__":
    main()
