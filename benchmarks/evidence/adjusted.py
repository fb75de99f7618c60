"""Bootstrap draws of the post-hoc adjustments in table 2, at the strength that was chosen on held-out images.

`lt-det adjust` keeps only the metrics of the strengths that it tries. Run in the root of the repository after the jobs
of plans/table2.yaml, with their working folder, which has the detectors::

    python -m benchmarks.evidence.adjusted --work output/evidence
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.evidence.datasets import make_dataset
from benchmarks.evidence.jobs import add_draws, command, environment, is_evaluated
from benchmarks.evidence.plan import DEFAULT_DATASET, Job, Plan, read_plan
from benchmarks.evidence.rows import read_row
from benchmarks.evidence.summary import chosen_value

PLAN = Path(__file__).with_name("plans") / "table2.yaml"


def without_draws(plan: Plan) -> list[Job]:
    """The adjustments that have a result and a chosen strength, but no draws."""
    return [
        job
        for job in plan.jobs()
        if not job.is_training
        and job.dataset == DEFAULT_DATASET
        and job.result() is not None
        and chosen_value(plan, job.row) is not None
        and read_row("draws/trainings", Path(job.name).name) is None
    ]


def evaluate(job: Job, value: str, work: Path, datasets: Path) -> Path:
    """Adjust the detector with one strength and evaluate it; return the folder."""
    one = dataclasses.replace(
        job,
        name=f"adjusted/{Path(job.name).name}",
        overrides=(*job.overrides, "MODEL.LONG_TAIL.CALIBRATION.VALUES", f"({value},)"),
    )
    folder = work / one.name
    test = [sys.executable, "tools/train_net.py", "--config", str(folder / "config.yaml"), "--eval-only"]
    for words in (command(one, work), test):
        subprocess.run(words, env=environment(datasets), check=True, stdout=subprocess.DEVNULL)
    return folder


def keep_draws(job: Job, value: str, folder: Path) -> bool:
    """Keep the draws of an evaluation with a strength; whether its metrics are those of the result."""
    chosen = json.loads((folder / "calibration.json").read_text())["chosen"]
    metrics = (job.result() or {})["values"][value]
    # `lt-det adjust` writes the unchanged detector where that is better than the strength.
    return chosen == float(value) and add_draws(job.name, folder, metrics)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("output/evidence"), help="folder of the trainings")
    args = parser.parse_args()
    plan, work = read_plan(PLAN), args.work.resolve()
    failed = False
    for job in without_draws(plan):
        assert job.detector is not None, f"{job.name} adjusts a detector"
        value = chosen_value(plan, job.row)
        assert value is not None, f"the strength of {job.row} is chosen"
        if not is_evaluated(job.detector, work):
            print(f"{job.name}: {work} does not have {job.detector.name}; run it again with benchmarks.evidence.run.")
            failed = True
            continue
        datasets = make_dataset(work, job.dataset, plan.datasets)
        same = keep_draws(job, value, evaluate(job, value, work, datasets))
        print(f"{job.name} with {value}: {'draws kept' if same else 'FAILED: its metrics are others now'}", flush=True)
        failed |= not same
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
