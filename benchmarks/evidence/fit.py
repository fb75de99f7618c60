"""How well a classifier fits its training images, beside the test images: is the tail memorized, or not learned yet?

Run in the root of the repository, on a training of plans/table3.yaml that still has its weights::

    lt-det diagnose output/evidence/exponential_100/erm_1600_seed0
    python -m benchmarks.evidence.fit output/evidence/exponential_100/erm_1600_seed0   # keeps it in results/fit/
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.rows import circumstances, metrics_of, read_rows, write_row
from benchmarks.evidence.summary import classes_of_thirds
from benchmarks.evidence.tables.markdown import header, line

KIND = "fit"
_SIDES = ("training", "test")
_DIAGNOSIS, _EVALUATION = "diagnosis/diagnosis.json", "inference/mini_lvis_val/evaluation.json"


def row_of(diagnosis: dict[str, Any], metrics: dict[str, float | None]) -> dict[str, Any]:
    """Mean accuracy of the classes in the rarest and the most frequent third, in percent, and the classes' own.

    Accuracy is the fraction of a class's RoIs whose highest score, leaving out background, is that of the class.
    `metrics` are those of the training, which may differ from the table's if it ran on another processor.
    """
    images = [one["images"] for one in diagnosis["classes"]]
    parts = classes_of_thirds(images)
    (stage,) = diagnosis["stages"]
    row: dict[str, Any] = {**circumstances(), "metrics": metrics_of(metrics), "class_images": images}
    for side in _SIDES:
        values = np.array(stage["deviation"][f"{side}_accuracy"], dtype=float) * 100  # None becomes nan
        row[side] = {name: float(np.nanmean(values[part])) for name, part in parts.items()}
        row[f"{side}_of_class"] = [None if np.isnan(value) else round(float(value), 1) for value in values]
    return row


def table() -> str:
    """Markdown: one line for each training, ERM first."""
    columns = [(part, side) for part in ("rarest third", "most frequent third") for side in _SIDES]
    titles = ["AP", *(f"{part}: {side}" for part, side in columns)]
    lines = header("row", titles)
    for name, row in sorted(read_rows(KIND).items(), key=lambda item: ("_erm_" not in item[0], item[0])):
        numbers = [row["metrics"]["AP"], *(row[side][part] for part, side in columns)]
        title = name.removeprefix("exponential_100_").rsplit("_", 2)[0]
        lines.append(line(title, [f"{number:.1f}" for number in numbers]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the training, with diagnosis/diagnosis.json")
    args = parser.parse_args()
    diagnosis, evaluation = (json.loads((args.run / file).read_text()) for file in (_DIAGNOSIS, _EVALUATION))
    row = row_of(diagnosis, evaluation["tasks"]["bbox"]["metrics"])
    print(write_row(KIND, f"{args.run.resolve().parent.name}_{args.run.resolve().name}", row))


if __name__ == "__main__":
    main()
