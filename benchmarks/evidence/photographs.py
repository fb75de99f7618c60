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

import numpy as np
import yaml

from benchmarks.evidence.markdown import header, line
from benchmarks.evidence.rank_correlation import spearman
from benchmarks.evidence.rows import circumstances, draws_of, metrics_of, read_row, read_rows, write_row
from lt_det.evaluation.metrics.intervals import interval
from lt_det.terminal import decimals, signed, signed_interval

KIND = "photographs"
_BUCKETS = ("AP", "APr", "APc", "APf")
_MEAN = "bucket mean"
_DETECTOR = "softmax"  # whose classifier the bake-offs train


def training_row(run: Path) -> dict[str, Any]:
    """AP on the validation images by iteration, and the metrics on the test images."""
    records = [json.loads(record) for record in (run / "metrics.json").read_text().splitlines()]
    return {
        **circumstances(),
        "curve": {  # Detectron2 logs the evaluation after 1000 iterations as 999, and the last one as 8000
            str(round(record["iteration"], -1)): {name: record[f"bbox/{name}"] for name in _BUCKETS}
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
                "folds": _mean([fold["metrics"][_MEAN] for fold in one["folds"]]),
                "val": _means(on_val[one["name"]]),
                "test": _means(one),
                "test_intervals": {name: one["intervals"][name] for name in _BUCKETS},
                "test_minus_retrained": {name: one["differences"][name] for name in _BUCKETS},
            }
            for one in test["candidates"]
        },
    }


def curve() -> str:
    """Markdown: AP and APr on the validation images by iteration, for each training."""
    rows = _trainings()
    points = list(rows[f"{_DETECTOR}_seed0"]["curve"])
    lines = header("training", points)
    for name, row in rows.items():
        for metric in _BUCKETS[:2]:
            numbers = [decimals(row["curve"][point][metric]) for point in points]
            lines.append(line(f"{_title(name)}: {metric}", numbers))
    return "\n".join(lines)


def candidates() -> str:
    """Markdown: each candidate on both sets, in the order of the validation images; means over the detectors."""
    bakeoffs = [row["candidates"] for name, row in _rows().items() if name.startswith("bakeoff_")]
    means = {name: _over_detectors([one[name] for one in bakeoffs]) for name in bakeoffs[0]}
    seeds = range(len(bakeoffs))
    lines = header(
        "classifier",
        [
            "val: mean over buckets",
            *(f"test: {name}" for name in _BUCKETS),
            *(f"test {name} minus retrained, detector {seed}" for name in _BUCKETS[:2] for seed in seeds),
        ],
    )
    for name, one in sorted(means.items(), key=lambda item: -item[1]["val"][_MEAN]):
        numbers = [decimals(one["val"][_MEAN]), *(decimals(one["test"][metric]) for metric in _BUCKETS)]
        deltas = [
            "" if of[name]["kind"] == "retrained" else _delta(of[name]["test_minus_retrained"][metric])
            for metric in _BUCKETS[:2]
            for of in bakeoffs
        ]
        lines.append(line(name, [*numbers, *deltas]))
    return "\n".join([*lines, "", _rank_correlations(bakeoffs, means)])


def _rank_correlations(bakeoffs: list[dict[str, Any]], means: dict[str, Any]) -> str:
    val, test = ([one[part][_MEAN] for one in means.values()] for part in ("val", "test"))
    trained = [one for one in means.values() if one["folds"] is not None]
    folds = spearman([one["folds"] for one in trained], [one["test"][_MEAN] for one in trained])
    detectors = [[of[name]["test"][_MEAN] for name in means] for of in bakeoffs[:2]]
    return (
        f"Rank correlation (Spearman) of the mean over the buckets: {decimals(spearman(val, test), 2)} between val and "
        f"test, and {decimals(spearman(*detectors), 2)} between the two detectors on test, over all {len(means)} rows; "
        f"{decimals(folds, 2)} between the held-out training images and test, over the {len(trained)} trained ones."
    )


def end_to_end() -> str:
    """Markdown: whole trainings on the test images, each against the softmax training of its seed."""
    lines = header(
        "training",
        ["val: AP", *(f"test: {name}" for name in _BUCKETS), *(f"test {name} minus softmax" for name in _BUCKETS[:2])],
    )
    for name, row in _trainings().items():
        if "test" not in row:
            continue
        numbers = [decimals(list(row["curve"].values())[-1]["AP"]), *(decimals(row["test"][one]) for one in _BUCKETS)]
        baseline = f"{_DETECTOR}_{name.rpartition('_')[2]}"
        deltas = ["" if name == baseline else _difference(name, baseline, metric) for metric in _BUCKETS[:2]]
        lines.append(line(_title(name), [*numbers, *deltas]))
    return "\n".join(lines)


def _difference(name: str, baseline: str, metric: str) -> str:
    after, before = (read_row(f"draws/{KIND}", one) or {} for one in (name, baseline))
    assert after["images"] == before["images"], f"{name} and {baseline} were evaluated on other images"
    rows = _rows()
    value = rows[name]["test"][metric] - rows[baseline]["test"][metric]
    ends = interval(np.array(after[metric], dtype=float) - np.array(before[metric], dtype=float), value)
    return f"{signed(value)} {'none' if ends is None else signed_interval(ends)}"


def _rows() -> dict[str, dict[str, Any]]:
    return read_rows(KIND)


def _trainings() -> dict[str, dict[str, Any]]:
    """Softmax first."""
    found = {name: row for name, row in _rows().items() if "curve" in row}
    return dict(sorted(found.items(), key=lambda item: (not item[0].startswith(_DETECTOR), item[0])))


def _title(name: str) -> str:
    loss, _, seed = name.rpartition("_seed")
    return f"{loss.replace('-', ' with ')}, seed {seed}"


def _over_detectors(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the detectors of one candidate's metrics."""
    return {
        **{
            part: {name: statistics.fmean(entry[part][name] for entry in entries) for name in (*_BUCKETS, _MEAN)}
            for part in ("val", "test")
        },
        "folds": _mean([entry["folds"] for entry in entries if entry["folds"] is not None]),
    }


def _means(entry: dict[str, Any]) -> dict[str, float | None]:
    means = {name: spread["mean"] for name, spread in entry["metrics"].items()}
    return {**metrics_of(means), _MEAN: means[_MEAN]}


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _delta(delta: dict[str, Any]) -> str:
    return f"{signed(delta['value'])} {signed_interval(delta['interval'])}"


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
