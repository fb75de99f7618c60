"""Train detectors on mini_lvis until they have converged, and keep their metrics in results/trainings/.

Run in the root of the repository; what is finished is not run again, and what was interrupted goes on::

    python -m benchmarks.evidence.trainings --work output/evidence --losses softmax seesaw --seeds 0 1 2

Each training is configs/mini_lvis_LOSS.yaml with four times its iterations, which is long enough for softmax and Seesaw
(`--iterations` for another length; the steps of the learning rate keep their place).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.evidence.rows import RESULTS, circumstances, metrics_of, write_row

# In the order of worth, should there be no time for all.
LOSSES = ("softmax", "seesaw", "ldam", "class_balanced", "logit_adjustment", "eqlv2", "ib", "eql", "sigmoid", "cdt")
LOSSES += ("focal", "seql", "label_smoothing", "federated")
_STEPS = (0.7, 0.9)  # of the training, as in configs/base/mini_lvis.yaml


def overrides(iterations: int, seed: int) -> list[str]:
    """Config keys of a training, apart from its OUTPUT_DIR."""
    steps = tuple(round(step * iterations) for step in _STEPS)
    keys = {"SOLVER.MAX_ITER": iterations, "SOLVER.STEPS": steps, "SOLVER.CHECKPOINT_PERIOD": 400}
    keys |= {"TEST.EVAL_PERIOD": 0, "SEED": seed}
    return [str(word) for pair in keys.items() for word in pair]


def train(loss: str, iterations: int, seed: int, folder: Path) -> None:
    """Train, or go on with, one detector, and evaluate it.

    Raises:
        subprocess.CalledProcessError: the training has failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes = folder / "circumstances.json"
    if not notes.is_file():  # those of the start, if the training is interrupted
        notes.write_text(json.dumps(circumstances()))
    config = f"configs/mini_lvis_{loss}.yaml"
    command = [sys.executable, "tools/train_net.py", "--config", config, "--resume", "OUTPUT_DIR", str(folder)]
    with (folder / "output.txt").open("a") as log:
        subprocess.run([*command, *overrides(iterations, seed)], stdout=log, stderr=log, check=True)


def row_of(loss: str, iterations: int, seed: int, folder: Path) -> dict[str, Any]:
    """What is kept of a finished training."""
    evaluation = json.loads((folder / "inference" / "mini_lvis_val" / "evaluation.json").read_text())
    return {
        "config": f"configs/mini_lvis_{loss}.yaml",
        "overrides": overrides(iterations, seed),
        "iterations": iterations,
        "seed": seed,
        **json.loads((folder / "circumstances.json").read_text()),
        "metrics": metrics_of(evaluation["tasks"]["bbox"]["metrics"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--losses", nargs="+", default=LOSSES, choices=LOSSES, metavar="LOSS")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--iterations", type=int, default=3200, metavar="N")
    args = parser.parse_args()
    pending = [
        (seed, loss, name)
        for seed in args.seeds
        for loss in args.losses
        if not (RESULTS / "trainings" / f"{(name := f'{loss}_{args.iterations}_seed{seed}')}.json").is_file()
    ]
    start = time.time()
    for number, (seed, loss, name) in enumerate(pending):
        left = (time.time() - start) / max(number, 1) * (len(pending) - number) / 60
        eta = f", about {left:.0f} minutes left" if number else ""
        print(f"{number + 1} of {len(pending)}: {name}{eta}", flush=True)
        train(loss, args.iterations, seed, args.work / name)
        print(write_row("trainings", name, row_of(loss, args.iterations, seed, args.work / name)), flush=True)


if __name__ == "__main__":
    main()
