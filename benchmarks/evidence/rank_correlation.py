"""Does a bake-off rank losses like long trainings end to end? The table of docs/bakeoff.md.

Run in the root of the repository, after the trainings of plans/table2.yaml with seed 0::

    python -m benchmarks.evidence.rank_correlation --work output/evidence   # the bake-off on the softmax detector
    python -m benchmarks.evidence.rank_correlation                          # the table, from results/
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.rows import circumstances, metrics_of, read_rows, write_row
from benchmarks.evidence.tables.markdown import header, line
from lt_det.terminal import decimals

DETECTOR = "softmax_3200_seed0"
_SHOWN = ("AP", "APr", "APc", "APf")


def run_bakeoff(work: Path) -> None:
    """Run the bake-off of `losses.yaml` on the softmax detector of 3200 iterations, and keep its metrics."""
    candidates = Path(__file__).with_name("losses.yaml")
    command = [sys.executable, "-m", "lt_det.cli", "bakeoff", "--candidates", str(candidates), "--seeds", "1"]
    folder = work / "trainings" / DETECTOR
    subprocess.run([*command, str(folder)], check=True)
    print(write_row("bakeoff", DETECTOR, row_of(folder / "bakeoff" / "bakeoff.json")))


def row_of(file: Path) -> dict[str, Any]:
    """What is kept of a bakeoff.json."""
    result = json.loads(file.read_text())
    candidates = {
        one["name"]: {
            "learning_rate": one["learning_rate"],
            "metrics": metrics_of(one["seeds"][0]["metrics"]),
            "folds": [fold["metrics"]["bucket mean"] for fold in one["folds"]],
        }
        for one in result["candidates"]
        if one["kind"] in ("retrained", "trained")
    }
    return {**circumstances(), "steps": result["steps"], "agreement": result["agreement"], "candidates": candidates}


def table() -> str:
    """Markdown: each loss trained end to end and on the softmax detector's features, and the correlations."""
    cached = read_rows("bakeoff")[DETECTOR]["candidates"]
    suffix = DETECTOR.removeprefix("softmax")
    trained = {name.removesuffix(suffix): row for name, row in read_rows("trainings").items() if name.endswith(suffix)}
    pairs = {
        loss: (trained[loss]["metrics"], cached["retrained" if loss == "softmax" else loss]["metrics"])
        for loss in trained
        if loss == "softmax" or loss in cached
    }
    sides = ("end to end", "on the softmax detector's features")
    lines = header("loss", [f"{side}: {name}" if name == "AP" else name for side in sides for name in _SHOWN])
    for loss, of_loss in sorted(pairs.items(), key=lambda item: -item[1][0]["AP"]):
        numbers = [f"{side[name]:.1f}" for side in of_loss for name in _SHOWN]
        lines.append(line(loss, numbers))
    lines.append("")
    for text, left_out in (("all", ()), ("without softmax", ("softmax",))):
        kept = [sides for loss, sides in pairs.items() if loss not in left_out]
        for name in ("AP", "APr"):
            whole, part = np.array([[side[name] for side in sides] for sides in kept]).T
            lines.append(f"Spearman correlation of {name}, {text} ({len(kept)}): {decimals(spearman(whole, part), 2)}")
    return "\n".join(lines)


def spearman(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Rank correlation of values without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder of the trainings; without it, only the table is made")
    args = parser.parse_args()
    if args.work:
        run_bakeoff(args.work)
    print(table())


if __name__ == "__main__":
    main()
