"""Plans: which trainings a table needs, in the order of worth.

A plan is a yaml file with these keys::

    datasets:                   # beside mini_lvis, the default one; see `benchmarks.evidence.datasets`
      exponential_100: {imbalance: exponential, ratio: 100}
      held_out: {split_of: mini_lvis}
    rows:                       # a row of the table: its config and what differs from it
      seesaw: {}                # configs/mini_lvis_seesaw.yaml
      ldam_drw: {config: configs/mini_lvis_ldam.yaml, set: {MODEL.LONG_TAIL.REWEIGHTING.BETA: 0.9999}}
      crt: {detector: softmax, fraction: 0.5}   # starts from the softmax detector, and trains half of its iterations
      tau_norm: {adjusts: softmax}              # post-hoc adjustment of the softmax detector, by `lt-det adjust`
    search: {dataset: held_out, iterations: 800}
    blocks:                     # run in this order; within one, the first seed of all rows comes first
      - {rows: [seesaw, ldam_drw], learning_rates: search}
      - {rows: [seesaw, ldam_drw], iterations: [3200], seeds: [0, 1, 2], learning_rates: chosen}

`learning_rates` of a block: ``search`` trains on the search's dataset with the config's rate and with twice it, and
goes on to double or halve the rate as long as AP rises; ``chosen`` uses the rate with the best AP there; without the
key, the config's rate is used. Other keys of a row: `iterations` of its own for the search; `baseline`, the row that
table 4 compares it with; ``variant: True`` for a loss of `benchmarks.evidence.variants`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from fvcore.common.config import CfgNode

from benchmarks.evidence.rows import read_row

DEFAULT_DATASET = "mini_lvis"
DEFAULT_FOLDER = "trainings"  # of the results on the default dataset
_LEARNING_RATE_STEPS = (0.7, 0.9)  # of the training, as in configs/base/mini_lvis.yaml
_FIRST_FACTORS = (1.0, 2.0)  # of the config's learning rate
_PLAN_KEYS = {"datasets", "rows", "search", "blocks"}
_ROW_KEYS = {"config", "set", "detector", "fraction", "adjusts", "iterations", "baseline", "variant"}
_SEARCH_KEYS = {"dataset", "iterations"}
_BLOCK_KEYS = {"rows", "dataset", "iterations", "seeds", "learning_rates"}


class PlanError(ValueError):
    """A plan that makes no sense."""


@dataclass(frozen=True)
class Job:
    """One training, or one post-hoc adjustment.

    Attributes:
        name: KIND/NAME, of its folder in the working folder and of its results/KIND/NAME.json.
        config: path of its config, from the root of the repository.
        overrides: keys and values, without OUTPUT_DIR and MODEL.WEIGHTS.
        iterations: that it trains; 0 for a post-hoc adjustment.
        factor: of the config's learning rate.
        detector: the job whose detector it starts from.
        variant: whether its loss is one of `benchmarks.evidence.variants`.
        waits_for: names of the results without which its learning rate is not known; with any, it cannot run yet.
    """

    name: str
    row: str
    dataset: str
    seed: int
    config: str
    overrides: tuple[str, ...]
    iterations: int
    factor: float = 1
    detector: Job | None = None
    variant: bool = False
    waits_for: tuple[str, ...] = ()

    @property
    def is_training(self) -> bool:
        """Whether it trains, and is not a post-hoc adjustment."""
        return self.iterations > 0

    def result(self) -> dict[str, Any] | None:
        """What is kept of it; None before it has finished."""
        return read_row(*self.name.split("/"))


@dataclass(frozen=True)
class Plan:
    """See the module's docstring."""

    rows: Mapping[str, Mapping[str, Any]]
    blocks: list[Mapping[str, Any]]
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """All jobs in order, each once; the detector that a job starts from is before it.

        The chosen learning rates are read from the results each time.
        """
        found: dict[str, Job] = {}
        for block in self.blocks:
            for job in self._jobs_of(block):
                if job.detector:
                    found.setdefault(job.detector.name, job.detector)
                found.setdefault(job.name, job)
        return list(found.values())

    def _jobs_of(self, block: Mapping[str, Any]) -> Iterator[Job]:
        rates = block.get("learning_rates")
        for seed in block.get("seeds", [0]):
            if rates == "search":
                for row in block["rows"]:
                    yield from self.search_jobs(row, seed)
                continue
            for iterations, row in itertools.product(block["iterations"], block["rows"]):
                dataset = block.get("dataset", DEFAULT_DATASET)
                yield self.job(row, dataset, iterations, seed, "chosen" if rates else 1)

    def search_jobs(self, row: str, seed: int = 0) -> list[Job]:
        """The trainings between which the learning rate of a row is chosen, or the search of an adjustment's value.

        The results so far say which learning rates are next: past the end where AP is best.
        """
        iterations = self.rows[row].get("iterations", self.search["iterations"])

        def job(factor: float) -> Job:
            return self.job(row, self.search["dataset"], iterations, seed, factor)

        if "adjusts" in self.rows[row]:
            return [job(1)]
        found = {factor: job(factor) for factor in _FIRST_FACTORS}
        while all(one.result() for one in found.values()):
            factor = _next_factor({factor: _ap(one) for factor, one in found.items()})
            if factor is None:
                break
            found[factor] = job(factor)
        return [found[factor] for factor in sorted(found)]

    def chosen_factor(self, row: str) -> tuple[float, tuple[str, ...]]:
        """The factor of the config's learning rate with the best AP in the search, and the results that are missing.

        While any is missing the factor is 1.
        """
        jobs = self.search_jobs(row)
        missing = tuple(job.name for job in jobs if job.result() is None)
        return (1, missing) if missing else (_best({job.factor: _ap(job) for job in jobs}), ())

    def job(self, row: str, dataset: str, iterations: int, seed: int, factor: float | Literal["chosen"]) -> Job:
        """A job of a row.

        Args:
            row: a key of `rows`.
            dataset: trained and evaluated on.
            iterations: of the detector that is trained end to end.
            seed: of the training.
            factor: of the config's learning rate; "chosen" for the best one in the search.
        """
        spec = self.rows[row]
        detector: Job | None = None
        missing: tuple[str, ...] = ()
        rate = factor
        if start := spec.get("detector", spec.get("adjusts")):
            # The search for a classifier's learning rate starts from the detector with its chosen one.
            searched = dataset == self.search.get("dataset")
            detector = self.job(start, dataset, iterations, seed, "chosen" if searched else factor)
        if "adjusts" in spec:
            rate = 1
        elif rate == "chosen":
            rate, missing = self.chosen_factor(row)
        own = 0 if "adjusts" in spec else round(iterations * spec.get("fraction", 1))
        config = spec.get("config", f"configs/mini_lvis_{row}.yaml")
        keys = _schedule(own, seed) if own else {}
        if num_classes := self.datasets.get(dataset, {}).get("num_classes"):
            keys["MODEL.ROI_HEADS.NUM_CLASSES"] = num_classes
        if rate != 1:
            keys["SOLVER.BASE_LR"] = rate * _learning_rate(config)
        keys |= spec.get("set", {})
        folder = DEFAULT_FOLDER if dataset == DEFAULT_DATASET else dataset
        return Job(
            name=f"{folder}/{row}{'' if rate == 1 else f'_x{rate:g}'}_{iterations}_seed{seed}",
            row=row,
            dataset=dataset,
            seed=seed,
            config=config,
            overrides=tuple(str(word) for pair in keys.items() for word in pair),
            iterations=own,
            factor=rate,
            detector=detector,
            variant=spec.get("variant", False),
            waits_for=tuple(dict.fromkeys([*missing, *(detector.waits_for if detector else ())])),
        )


def _ap(job: Job) -> float:
    """Of a job with a result."""
    ap: float = (job.result() or {})["metrics"]["AP"]
    return ap


def _best(ap: Mapping[float, float]) -> float:
    """The factor with the best AP; of equal ones the nearest to 1."""
    return max(ap, key=lambda factor: (ap[factor], -abs(factor - 1)))


def _next_factor(ap: Mapping[float, float]) -> float | None:
    """The factor to try next, from AP by factor; None when the best one has a worse one on each side."""
    best = _best(ap)
    if best == max(ap):
        return 2 * best
    return best / 2 if best == min(ap) else None


def _schedule(iterations: int, seed: int) -> dict[str, Any]:
    """The keys of a training's length."""
    steps = tuple(round(step * iterations) for step in _LEARNING_RATE_STEPS)
    keys = {"SOLVER.MAX_ITER": iterations, "SOLVER.STEPS": steps, "SOLVER.CHECKPOINT_PERIOD": 400}
    return {**keys, "TEST.EVAL_PERIOD": 0, "SEED": seed}


@functools.lru_cache
def _learning_rate(config: str) -> float:
    return float(CfgNode.load_yaml_with_base(config)["SOLVER"]["BASE_LR"])


def read_plan(file: Path) -> Plan:
    """
    Raises:
        PlanError: an unknown key or row.
    """
    content = yaml.safe_load(file.read_text())
    _check_keys(str(file), content, _PLAN_KEYS)
    _check_keys(f"{file}: search", content.get("search") or {}, _SEARCH_KEYS)
    rows = {name: spec or {} for name, spec in content["rows"].items()}
    for name, spec in rows.items():
        _check_keys(f"{file}: row {name}", spec, _ROW_KEYS)
    for number, block in enumerate(content["blocks"], 1):
        _check_keys(f"{file}: block {number}", block, _BLOCK_KEYS)
        starts = [spec[key] for spec in rows.values() for key in ("detector", "adjusts") if key in spec]
        if unknown := {*block["rows"], *starts} - set(rows):
            raise PlanError(f"{file}: block {number} has the unknown rows {sorted(unknown)}; define them in 'rows'.")
        dataset = block.get("dataset", DEFAULT_DATASET)
        if dataset not in {DEFAULT_DATASET, *content.get("datasets", {})}:
            raise PlanError(f"{file}: block {number} has the unknown dataset {dataset}; define it in 'datasets'.")
        if block.get("learning_rates", "chosen") not in ("chosen", "search"):
            raise PlanError(f"{file}: learning_rates of block {number} is neither search nor chosen.")
        if block.get("learning_rates") and not content.get("search"):
            raise PlanError(f"{file}: block {number} needs the key 'search'.")
    return Plan(rows, content["blocks"], content.get("datasets") or {}, content.get("search") or {})


def _check_keys(where: str, content: Mapping[str, Any], known: set[str]) -> None:
    if unknown := set(content) - known:
        raise PlanError(f"{where} has the unknown keys {sorted(unknown)}; known are {sorted(known)}.")
