"""Real photographs: the small detector on TrashCan, and its classifier with every candidate of a bake-off.

The bake-off's own choice looks at training images, which this detector has memorized. So the candidates are ordered by
the validation images, and reported on the test images. Run in the root of the repository, for each seed::

    export TRASHCAN=... # the folder of train.json, val.json, test.json and images
    lt-det train --config benchmarks/evidence/trashcan.yaml OUTPUT_DIR output/trashcan SEED 0
    lt-det train --config output/trashcan/config.yaml --eval-only \\
        MODEL.WEIGHTS output/trashcan/model_final.pth DATASETS.TEST "('trashcan_test',)"
    python -m benchmarks.evidence.photographs training output/trashcan   # keeps its numbers in results/photographs/
    lt-det bakeoff --choose-on evaluation output/trashcan
    lt-det bakeoff --output output/trashcan/bakeoff_test output/trashcan DATASETS.TEST "('trashcan_test',)"
    python -m benchmarks.evidence.photographs bakeoff output/trashcan
    python -m benchmarks.evidence.tables                                 # makes the tables of docs/evidence.md

A loss end to end is the first three commands with its MODEL.LONG_TAIL.LOSS.NAME or sampler, and another OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import yaml

from benchmarks.evidence.rows import circumstances, draws_of, metrics_of, write_row

KIND = "photographs"
BUCKETS = ("AP", "APr", "APc", "APf")
MEAN = "bucket mean"


def training_row(run: Path) -> dict[str, Any]:
    """AP on the validation images by iteration, and the metrics on the test images."""
    records = [json.loads(record) for record in (run / "metrics.json").read_text().splitlines()]
    return {
        **circumstances(),
        "curve": {  # Detectron2 logs the evaluation after 1000 iterations as 999, and the last one as 8000
            str(round(record["iteration"], -1)): {name: record[f"bbox/{name}"] for name in BUCKETS}
            for record in records
            if "bbox/AP" in record
        },
        "test": metrics_of(_test_boxes(run)["metrics"]),
    }


def bakeoff_row(run: Path) -> dict[str, Any]:
    """For each candidate its metrics on both sets, and its differences on the test set."""
    val, test = (json.loads((run / folder / "bakeoff.json").read_text()) for folder in ("bakeoff", "bakeoff_test"))
    if val["dataset"] == test["dataset"]:
        raise SystemExit(
            f"Both bake-offs of {run} evaluate {val['dataset']}; the first one has to choose on other images."
        )
    on_val = {one["name"]: one for one in val["candidates"]}
    return {
        **circumstances(),
        "images": {one["dataset"]: one["num_images"] for one in (val, test)},
        "seeds": len(test["seeds"]),
        "candidates": {
            one["name"]: {
                "kind": one["kind"],
                "folds": mean_or_none([fold["metrics"][MEAN] for fold in one["folds"]]),
                "val": _means(on_val[one["name"]]),
                "test": _means(one),
                "test_intervals": {name: one["intervals"][name] for name in BUCKETS},
                "test_minus_retrained": {name: one["differences"][name] for name in BUCKETS},
            }
            for one in test["candidates"]
        },
    }


def _means(entry: dict[str, Any]) -> dict[str, float | None]:
    means = {name: spread["mean"] for name, spread in entry["metrics"].items()}
    return {**metrics_of(means), MEAN: means[MEAN]}


def mean_or_none(values: list[float]) -> float | None:
    """None without values."""
    return statistics.fmean(values) if values else None


def _test_boxes(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "inference" / "trashcan_test" / "evaluation.json").read_text())
    return content["tasks"]["bbox"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("training", "bakeoff"))
    parser.add_argument("run", type=Path, help="OUTPUT_DIR of the training")
    parser.add_argument("--commit", help="that trained it or ran the bake-off, if that is not the present one")
    args = parser.parse_args()
    config = yaml.safe_load((args.run / "config.yaml").read_text())
    seed = f"seed{config['SEED']}"
    if args.what == "bakeoff":
        row = bakeoff_row(args.run)
        print(write_row(KIND, f"bakeoff_{seed}", {**row, "commit": args.commit or row["commit"]}))
        return
    sampler = config["DATALOADER"]["SAMPLER_TRAIN"]
    loss = config["MODEL"]["LONG_TAIL"]["LOSS"]["NAME"]
    name = f"{loss}{'' if sampler == 'TrainingSampler' else f'-{sampler}'}_{seed}"
    row = training_row(args.run)
    print(write_row(KIND, name, {**row, "commit": args.commit or row["commit"]}))
    print(write_row(f"draws/{KIND}", name, draws_of(_test_boxes(args.run)["resamples"])))


if __name__ == "__main__":
    main()
