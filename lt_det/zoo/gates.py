"""Sanity gates: what a run has to show at its first line, and after 1 %, 10 % and 100 % of its schedule.

Each gate says where it comes from. "computed": from the config alone. "published": from a number that others published
for the same protocol, or for a shorter schedule. "heuristic": our own expectation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from detectron2.solver import build_lr_scheduler

from lt_det.statistics.class_stats import ClassStats
from lt_det.zoo.initial_loss import initial_loss
from lt_det.zoo.rows import Published, Row
from lt_det.zoo.run_folder import Line

LOG_PERIOD = 20  # iterations
FOREGROUND = "foreground fraction"

_ABOVE_INITIAL = 1.05  # features are not random, and the first line is a median of 20 iterations
_BETWEEN_SETUPS = 1.0  # points of AP between trainings of one recipe in two code bases
_ROUNDING = 1e-6

Kind = Literal["computed", "published", "heuristic"]


@dataclass(frozen=True)
class Gate:
    """Bounds of a metric.

    Attributes:
        at: fraction of the schedule; 0: the first logged line.
        iteration: the first line at or after it that has the metric decides.
        metric: name in metrics.json, or `FOREGROUND`.
        low, high: bounds, which pass; None: finite values pass.
    """

    at: float
    iteration: int
    metric: str
    low: float | None
    high: float | None
    kind: Kind
    why: str

    @property
    def logged(self) -> str:
        """The name in metrics.json of a line that decides."""
        return _NUMBERS[0] if self.metric == FOREGROUND else self.metric

    def value(self, line: Line) -> float:
        """The metric's value in a line that decides."""
        if self.metric != FOREGROUND:
            return line[self.metric]
        foreground, background = (line[name] for name in _NUMBERS)
        return foreground / max(foreground + background, 1)

    def passes(self, value: float) -> bool:
        """Whether a value is finite and within the bounds."""
        low = float("-inf") if self.low is None else self.low - _ROUNDING
        high = float("inf") if self.high is None else self.high + _ROUNDING
        return abs(value) < float("inf") and low <= value <= high

    @property
    def bounds(self) -> str:
        """Such as "at most 7.48"."""
        low, high = (None if bound is None else f"{bound:.3g}" for bound in (self.low, self.high))
        if low is None or high is None:
            return f"at most {high}" if high else f"at least {low}" if low else "finite"
        return low if low == high else f"{low} to {high}"


_NUMBERS = ("roi_head/num_fg_samples", "roi_head/num_bg_samples")


def gates_of(cfg: Any, stats: ClassStats | None, row: Row) -> list[Gate]:
    """The gates of a config in the order of the schedule; none for a post-hoc adjustment, which trains nothing.

    Args:
        cfg: the run's config.
        stats: counts of the training classes; None: not known, and gates of the initial loss are left out.
        row: the config's; an empty one if the run differs from the config, so that no AP is known for it.
    """
    if is_adjustment(cfg):
        return []
    gates = [*_loss_gates(cfg, stats), *_schedule_gates(cfg), *_metric_gates(cfg), *_row_gates(cfg, row)]
    return sorted(gates, key=lambda gate: gate.at)


def is_adjustment(cfg: Any) -> bool:
    """Whether a config is for `lt-det adjust`."""
    return bool(cfg.MODEL.LONG_TAIL.CALIBRATION.METHOD)


def loss_name(cfg: Any) -> str:
    """The classification loss in metrics.json. If nothing else is trained, only the total is logged."""
    if cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD:
        return "total_loss"
    return "loss_cls_stage0" if "Cascade" in cfg.MODEL.ROI_HEADS.NAME else "loss_cls"


def learning_rates(cfg: Any, iterations: Sequence[int]) -> list[float]:
    """The learning rates of iterations, by Detectron2's schedule."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=cfg.SOLVER.BASE_LR)
    scheduler: Any = build_lr_scheduler(cfg, optimizer)
    rates = []
    for iteration in iterations:
        scheduler.last_epoch = iteration
        rates.append(float(scheduler.get_lr()[0]))
    return rates


def _logged_iteration(cfg: Any, at: float) -> int:
    """The iteration of the first logged line once a fraction of the schedule has passed."""
    planned = int(cfg.SOLVER.MAX_ITER)
    passed = max(round(at * planned), 1)
    return min(-(-passed // LOG_PERIOD) * LOG_PERIOD, planned) - 1


def _gate(cfg: Any, at: float, metric: str, low: float | None, high: float | None, kind: Kind, why: str) -> Gate:
    return Gate(at, _logged_iteration(cfg, at), metric, low, high, kind, why)


def _loss_gates(cfg: Any, stats: ClassStats | None) -> list[Gate]:
    gates = [
        _gate(cfg, at, "total_loss", None, None, "heuristic", "training has not diverged") for at in (0.01, 0.1, 1.0)
    ]
    if stats is None or cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD == "lws":  # LWS starts from a trained classifier
        return gates
    name, (_, highest) = loss_name(cfg), initial_loss(cfg, stats)
    gates.append(
        _gate(cfg, 0, name, 0, highest * _ABOVE_INITIAL, "computed", f"{highest:.3f} at most before the first step")
    )
    for at in (0.01, 0.1):
        if _logged_iteration(cfg, at) > cfg.SOLVER.WARMUP_ITERS:
            gates.append(_gate(cfg, at, name, 0, highest, "heuristic", "below its highest value before the first step"))
    return gates


def _schedule_gates(cfg: Any) -> list[Gate]:
    gates, fractions = [], (0.01, 0.1, 1.0)
    rates = learning_rates(cfg, [_logged_iteration(cfg, at) for at in fractions])
    for at, rate in zip(fractions, rates, strict=True):
        low, high = rate * (1 - 1e-4), rate * (1 + 1e-4)
        gates.append(_gate(cfg, at, "lr", low, high, "computed", "learning rate of the schedule"))
    return gates


def _metric_gates(cfg: Any) -> list[Gate]:
    highest = cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION
    tasks = ["bbox", *(["segm"] if cfg.MODEL.MASK_ON else [])]
    return [
        _gate(cfg, 0.01, FOREGROUND, 0, highest, "computed", "the sampler of RoIs takes no more"),
        _gate(cfg, 0.1, FOREGROUND, 0.01, highest, "heuristic", "proposals find objects"),
        *(_gate(cfg, 0.1, f"{task}/AP", 1e-3, None, "heuristic", "something is found") for task in tasks),
    ]


def _row_gates(cfg: Any, row: Row) -> list[Gate]:
    gates = [_gate(cfg, bound.at, bound.metric, bound.low, bound.high, "heuristic", bound.why) for bound in row.bounds]
    for one in row.published:
        if one.protocol != "other":
            gates.append(_published_gate(cfg, one))
    return gates


def _published_gate(cfg: Any, one: Published) -> Gate:
    """AP of the same protocol within a point; at least that of a shorter schedule less a point."""
    ap = one.metrics["AP"]
    assert ap is not None
    high = ap + _BETWEEN_SETUPS if one.protocol == "same" else None
    epochs = "" if one.protocol == "same" else " after fewer epochs"
    why = f"{one.source}: {ap:g}{epochs}, give or take {_BETWEEN_SETUPS:g}"
    return _gate(cfg, 1.0, f"{one.task}/AP", ap - _BETWEEN_SETUPS, high, "published", why)
