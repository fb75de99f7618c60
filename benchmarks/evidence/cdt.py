"""Why does CDT lose on frozen features? The table of docs/losses/cdt.md.

On frozen features, the optimum with CDT is that of softmax with each row multiplied by its temperature a, because
softmax(z / a) of the one is softmax(z) of the other. So there are two questions: is that optimum a good detector, and
how far from it does a training with the usual number of steps end? The gradient that reaches a row is divided by a, and
the row has to grow a times as large: that of a class with temperature 4.6 learns 21 times slower than background.

Softmax does not change if a number is added to all logits, but the product with the temperatures does. The paper's
classifiers have no background, whose temperature is 1 here. So a third classifier has logits minus the one of
background before they are multiplied: an object that was as probable as background stays so.

Run in the root of the repository; RUN is the OUTPUT_DIR of a softmax detector::

    python -m benchmarks.evidence.cdt RUN     # trains and evaluates, and keeps the metrics in results/cdt/
    python -m benchmarks.evidence.cdt         # the table, from results/
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.evidence.rows import circumstances, metrics_of, read_rows, write_row
from benchmarks.evidence.tables.markdown import header, line
from lt_det.bakeoff.bakeoff import FEATURES
from lt_det.bakeoff.candidates import Candidate
from lt_det.bakeoff.detector import Classifiers, ClassifierStates
from lt_det.bakeoff.features.extraction import compute_features
from lt_det.bakeoff.fitting import FitOptions, fit
from lt_det.bakeoff.options import BakeoffOptions
from lt_det.bakeoff.trials import Trials
from lt_det.evaluation.schema import TaskEvaluation
from lt_det.io.options import Collected
from lt_det.losses.cdt import imbalance
from lt_det.reporting.comparison.differences import metric_differences
from lt_det.terminal import signed, signed_interval
from lt_det.training import load_config

_NAME = "MODEL.LONG_TAIL.LOSS.NAME"
_GAMMA = "MODEL.LONG_TAIL.LOSS.CDT.GAMMA"
_STEPS = 3000  # the bake-off's budget
_RATE = 0.2
_BASELINE = "softmax"
_SHOWN = ("AP", "APr", "APc", "APf")
_COMPARED = ("AP", "APr")


def variants(
    trials: Trials, gammas: tuple[float, ...], longer: tuple[int, ...]
) -> Iterator[tuple[str, Callable[[], TaskEvaluation]]]:
    """The name of each variant, and what trains and evaluates it."""
    softmax = Candidate("softmax", {_NAME: "softmax"})
    trained = functools.cache(lambda: _fitted(trials, softmax, _STEPS))
    counts = torch.as_tensor(trials.stats.training_counts("instances"), dtype=torch.float64)

    def multiplied(gamma: float, from_background: bool) -> TaskEvaluation:
        temperature = torch.cat([imbalance(counts) ** gamma, torch.ones(1)]).float()
        return _evaluated(trials, softmax, _multiplied(trained(), temperature, from_background))

    def trained_with_cdt(gamma: float, steps: int) -> TaskEvaluation:
        cdt = Candidate("cdt", {_NAME: "cdt", _GAMMA: gamma})
        return _evaluated(trials, cdt, _fitted(trials, cdt, steps))

    yield _BASELINE, functools.cache(lambda: _evaluated(trials, softmax, trained()))  # each variant is compared with it
    for gamma in gammas:
        for rows, from_background in (("rows", False), ("rows minus that of background,", True)):
            yield f"softmax, {rows} times temperature, gamma {gamma}", partial(multiplied, gamma, from_background)
        for factor in (1, *longer):
            yield f"cdt, gamma {gamma}, steps x{factor}", partial(trained_with_cdt, gamma, factor * _STEPS)


def _fitted(trials: Trials, candidate: Candidate, steps: int) -> Classifiers:
    tables = [trials.cache.rois(stage) for stage in range(trials.cache.num_stages)]
    return fit(trials.cfg, candidate, tables, None, FitOptions(seed=0, steps=steps), learning_rate=_RATE)


def _evaluated(trials: Trials, candidate: Candidate, classifiers: Classifiers) -> TaskEvaluation:
    result = trials.scorer.evaluate(candidate.config(trials.cfg), classifiers)
    return result.evaluation.tasks["bbox"]


def _multiplied(trained: Classifiers, temperature: torch.Tensor, from_background: bool) -> ClassifierStates:
    """The classifiers with each row, and its bias, multiplied by the temperature of its class.

    Args:
        trained: with K + 1 rows.
        temperature: (K + 1,).
        from_background: subtract the last row from all rows beforehand.
    """
    states = []
    for state in trained.classifiers:
        rows = {name: tensor - tensor[-1:] if from_background else tensor for name, tensor in state.items()}
        weight, bias = rows["weight"], rows["bias"]
        states.append({"weight": weight * temperature[:, None], "bias": bias * temperature})
    return ClassifierStates(states, [dict(state) for state in trained.losses])


def _kept(result: TaskEvaluation, baseline: TaskEvaluation) -> dict[str, Any]:
    """Metrics, and their differences from the baseline with both ends of the paired 95 % interval."""
    differences = {one.metric: one for one in metric_differences(baseline, result) if one.metric in _SHOWN}
    minus = {name: [one.value, *(one.interval or ())] for name, one in differences.items()}
    return {**metrics_of(result.metrics), f"minus {_BASELINE}": minus}


def table(name: str) -> str:
    """Markdown."""
    titles = [*_SHOWN, *(f"{metric} minus {_BASELINE}" for metric in _COMPARED)]
    lines = header("classifier on the same features", titles)
    for variant, row in read_rows("cdt")[name]["variants"].items():
        cells = [f"{row[metric]:.1f}" for metric in _SHOWN]
        for metric in _COMPARED:
            value, *ends = row[f"minus {_BASELINE}"][metric]
            cells.append("" if variant == _BASELINE else f"{signed(value)} {signed_interval(ends)}")
        lines.append(line(variant, cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="OUTPUT_DIR of a softmax detector")
    parser.add_argument("--gammas", type=float, nargs="+", action=Collected, default=[0.2, 0.1], metavar="GAMMA")
    parser.add_argument(
        "--longer", type=int, nargs="*", action=Collected, default=[4], metavar="FACTOR", help="trainings of CDT"
    )
    args = parser.parse_args()
    if args.run:
        cfg = load_config(str(args.run / "config.yaml"), ["MODEL.WEIGHTS", str(args.run / "model_final.pth")])
        with tempfile.TemporaryDirectory() as folder:
            features = args.run / "bakeoff" / FEATURES  # those of a bake-off, if there has been one
            compute_features(cfg, features)
            trials = Trials(cfg, BakeoffOptions(seeds=1), features, Path(folder))
            notes = {**circumstances(), "steps": _STEPS, "learning_rate": _RATE}  # the code may be another later
            found = read_rows("cdt").get(args.run.name, {}).get("variants", {})  # which are not run again
            wanted = dict(variants(trials, tuple(args.gammas), tuple(args.longer)))
            for name, run in wanted.items():
                if name not in found:
                    found[name] = _kept(run(), wanted[_BASELINE]())
                    write_row("cdt", args.run.name, {**notes, "variants": found})
                print(name, {metric: round(found[name][metric], 1) for metric in _SHOWN}, flush=True)
    for name in read_rows("cdt"):
        print(f"{name}\n\n{table(name)}\n")


if __name__ == "__main__":
    main()
