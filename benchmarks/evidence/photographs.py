"""Real photographs: the small detector on TrashCan, and its classifier with every candidate of a bake-off.

The bake-off's own choice looks at training images, which this detector has memorized. So the candidates are ordered by
the validation images, and reported on the test images. Run in the root of the repository::

    export TRASHCAN=... # the folder of train.json, val.json, test.json and images
    lt-det train --config benchmarks/evidence/trashcan.yaml
    lt-det bakeoff --choose-on evaluation output/trashcan
    lt-det bakeoff --output output/trashcan/bakeoff_test output/trashcan DATASETS.TEST "('trashcan_test',)"
    python -m benchmarks.evidence.photographs output/trashcan   # keeps the numbers in results/photographs/
    python -m benchmarks.evidence.tables                        # makes the tables of docs/evidence.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.evidence.rank_correlation import spearman
from benchmarks.evidence.rows import circumstances, metrics_of, read_row, write_row
from lt_det.terminal import decimals, signed, signed_interval

NAME = "trashcan"
_BUCKETS = ("AP", "APr", "APc", "APf")
_MEAN = "bucket mean"


def row_of(run: Path) -> dict[str, Any]:
    """AP by iteration, and for each candidate its metrics on both sets, and its differences on the test set."""
    val, test = (json.loads((run / folder / "bakeoff.json").read_text()) for folder in ("bakeoff", "bakeoff_test"))
    on_val = {one["name"]: one for one in val["candidates"]}
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    return {
        **circumstances(),
        "curve": {  # Detectron2 logs the evaluation after 1000 iterations as 999, and the last one as 8000
            str(round(line["iteration"], -1)): {name: line[f"bbox/{name}"] for name in _BUCKETS}
            for line in lines
            if "bbox/AP" in line
        },
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
    """Markdown: AP on the validation images by iteration."""
    points = _row()["curve"]
    lines = ["| iteration | " + " | ".join(points) + " |", "|---|" + "---:|" * len(points)]
    lines += [
        f"| {name} | " + " | ".join(f"{point[name]:.1f}" for point in points.values()) + " |" for name in _BUCKETS
    ]
    return "\n".join(lines)


def candidates() -> str:
    """Markdown: each candidate on both sets, in the order of the validation images."""
    titles = [
        "val: mean over buckets",
        *(f"test: {name}" for name in _BUCKETS),
        "test AP minus retrained",
        "test APr minus retrained",
    ]
    lines = ["| classifier | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    found = _row()["candidates"]
    for name, one in sorted(found.items(), key=lambda item: -item[1]["val"][_MEAN]):
        numbers = [f"{one['val'][_MEAN]:.1f}", *(f"{one['test'][metric]:.1f}" for metric in _BUCKETS)]
        deltas = (
            [""] * 2
            if one["kind"] == "retrained"
            else [_delta(one["test_minus_retrained"][metric]) for metric in _BUCKETS[:2]]
        )
        lines.append(f"| {name} | {' | '.join([*numbers, *deltas])} |")
    val, test = ([one[part][_MEAN] for one in found.values()] for part in ("val", "test"))
    trained = [one for one in found.values() if one["folds"] is not None]
    folds = spearman([one["folds"] for one in trained], [one["test"][_MEAN] for one in trained])
    lines.append("")
    lines.append(
        f"Rank correlation (Spearman) of the mean over the buckets: {decimals(spearman(val, test), 2)} between val and "
        f"test, over all {len(found)} rows; {decimals(folds, 2)} between the held-out training images and test, over "
        f"the {len(trained)} that were trained."
    )
    return "\n".join(lines)


def _row() -> dict[str, Any]:
    row = read_row("photographs", NAME)
    assert row is not None, "results/photographs is part of the repository"
    return row


def _means(entry: dict[str, Any]) -> dict[str, float | None]:
    means = {name: spread["mean"] for name, spread in entry["metrics"].items()}
    return {**metrics_of(means), _MEAN: means[_MEAN]}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _delta(delta: dict[str, Any]) -> str:
    return f"{signed(delta['value'])} {signed_interval(delta['interval'])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="OUTPUT_DIR of the training")
    parser.add_argument("--commit", help="that trained it, if that is not the present one")
    args = parser.parse_args()
    row = row_of(args.run)
    print(write_row("photographs", NAME, {**row, "commit": args.commit or row["commit"]}))


if __name__ == "__main__":
    main()
