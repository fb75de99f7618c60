"""Measure every part at the numbers of classes of four datasets, each in a process of its own.

python -m benchmarks.scale                        # all parts; writes benchmarks/results/scale.json
python -m benchmarks.scale --parts detections --classes 1203 --output /tmp/scale.json
python -m benchmarks.scale.page                   # makes docs/scale.md from the file
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.machine import commit
from benchmarks.scale import detections, evaluation, training
from benchmarks.scale.sizes import DATASETS
from lt_det.io.options import Collected
from lt_det.training.log.environment import processor

RESULTS = Path(__file__).resolve().parents[1] / "results" / "scale.json"
PARTS = {
    "training": training.measure,
    "masks": training.measure_masks,
    "detections": detections.measure,
    "rounding": detections.measure_rounding,
    "evaluation": lambda num_classes: evaluation.measure(num_classes, "lt_det"),
    "evaluation, stock": lambda num_classes: evaluation.measure(num_classes, "pycocotools"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--parts",
        nargs="+",
        action=Collected,
        default=list(PARTS),
        choices=list(PARTS),
        metavar="PART",
        help=f"of {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--classes", nargs="+", type=int, action=Collected, default=list(DATASETS.values()), help="numbers of classes"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="json file; rows of other parts are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    # A process for each measurement, whose peak memory is its own.
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for part in args.parts:
            for num_classes in args.classes:
                keep(args.output, part, num_classes, pool.apply(measure, (part, num_classes)))


def measure(part: str, num_classes: int) -> list[dict[str, Any]]:
    return list(PARTS[part](num_classes))


def keep(file: Path, part: str, num_classes: int, found: list[dict[str, Any]]) -> None:
    """Replace the rows of a part and a number of classes in the file."""
    content = json.loads(file.read_text()) if file.is_file() else {"rows": []}
    rows = [row for row in content["rows"] if (row["part"], row["classes"]) != (part, num_classes)]
    rows += [{"part": part, "classes": num_classes, **row} for row in found]
    rows.sort(key=lambda row: (list(PARTS).index(row["part"]), row["classes"]))
    content = {"machine": machine(), "rows": rows}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{part}, {num_classes} classes: {len(found)} rows", flush=True)


def machine() -> dict[str, str]:
    return {
        "cpu": processor(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit(),
    }


if __name__ == "__main__":
    main()
