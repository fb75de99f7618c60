"""Train the classifier of a candidate on cached RoI features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.candidates.candidate import Candidate
from lt_det.bakeoff.candidates.oversampling import synthetic_features
from lt_det.bakeoff.candidates.sampling import row_weights
from lt_det.bakeoff.fitting.batch import RoiBatches
from lt_det.bakeoff.fitting.held_out import HeldOut
from lt_det.bakeoff.fitting.options import FitOptions
from lt_det.bakeoff.fitting.schedule import PHASE_STARTS, Phases, Schedule
from lt_det.bakeoff.fitting.trainee import MakeStage, Stage, Trainee
from lt_det.errors import LtDetError

logger = logging.getLogger(__name__)

LEARNING_RATES = (0.05, 0.2)

_MEASURES = 20  # points of the curve
_MOST_WARMUP = 0.1  # of the budget

Curve = list[tuple[int, float, "float | None"]]


class DivergedError(LtDetError):
    """A candidate diverges with every learning rate that was tried."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained classifier for each stage.

    Attributes:
        classifiers: for each stage the state dict of the box predictor's ``cls_score``.
        losses: for each stage the state dict of its ``loss``, such as Seesaw's counts.
        curve: (step, mean training loss since the point before, held-out measure or None); the measure is the mean over
            the classes of the average precision of held-out RoIs, 0 to 1.
        steps: steps that were taken.
        phases: steps in each phase of the schedule.
        seconds: time of the training; learning rates that were trained together share it equally.
        learning_rate: before the phases divide it.
    """

    classifiers: list[dict[str, Tensor]]
    losses: list[dict[str, Tensor]]
    curve: Curve
    steps: int
    phases: Phases
    seconds: float
    learning_rate: float

    @property
    def measure(self) -> float:
        """The held-out measure at the end; -1 without held-out images."""
        measure = self.curve[-1][2] if self.curve else None
        return -1.0 if measure is None else measure


def learning_rates(candidate: Candidate) -> tuple[float, ...]:
    """The learning rates that are tried: the candidate's own, or `LEARNING_RATES`."""
    return candidate.learning_rates or LEARNING_RATES


def fit(
    cfg: Any,
    candidate: Candidate,
    rois: Sequence[RoiTable],
    images: NDArray[np.int64] | None,
    options: FitOptions,
    *,
    learning_rate: float | None = None,
    make_stage: MakeStage = Stage,
) -> Fitted:
    """Train a candidate with one learning rate, or with several and return the best on the held-out images.

    Args:
        learning_rate: None: all of `learning_rates`.
        cfg, candidate, rois, images, options, make_stage: see `fit_learning_rates`.

    Raises:
        LtDetError: see `fit_learning_rates`.
        ValueError: there are several learning rates, and no held-out images to choose by.
    """
    rates = learning_rates(candidate) if learning_rate is None else (learning_rate,)
    if len(rates) > 1 and options.held_out is None:
        raise ValueError("Several learning rates need held-out images to choose by; give learning_rate or held_out.")
    fits = fit_learning_rates(cfg, candidate, rois, images, rates, options, make_stage=make_stage)
    return max(fits, key=lambda one: one.measure)


def fit_learning_rates(
    cfg: Any,
    candidate: Candidate,
    rois: Sequence[RoiTable],
    images: NDArray[np.int64] | None,
    rates: Sequence[float],
    options: FitOptions,
    *,
    make_stage: MakeStage = Stage,
) -> list[Fitted]:
    """Train a candidate with several learning rates at a time, on the same batches and from the same initial weights.

    The classifiers start from fresh weights, as in classifier re-training (cRT). They are trained by SGD with the
    config's momentum, weight decay and clipping of gradients; after a warm-up of SOLVER.WARMUP_ITERS, or a tenth of the
    budget if that is less, the learning rate is multiplied by SOLVER.GAMMA at 70 and at 90 % of the budget. With
    held-out images, a plateau of the measure ends a phase early, see `Schedule`. Class counts are those of the whole
    training set, so that a loss is the one that is written in the end.

    Args:
        cfg: `detector_config` of the detector.
        candidate: of kind "trained" or "retrained".
        rois: a table for each stage of the box head.
        images: indices of the images to train on; None for all.
        rates: learning rates.
        options: seed, budget and the like.
        make_stage: what trains each stage: a `Stage`, or called with the arguments of one.

    Returns:
        A `Fitted` for each learning rate with which the training did not diverge, in their order.

    Raises:
        LtDetError: the config or the sampler is invalid, there is nothing to train on, the loss lacks class counts, or
            every learning rate diverged (`DivergedError`).
    """
    if candidate.meta and make_stage is Stage:
        raise ValueError(f"{candidate.name} needs a meta set; train it by lt_det.bakeoff.fitting.meta_fit.fit_meta.")
    own = _training_config(candidate.config(cfg))
    seed, device = options.seed, options.device
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # a loss may sample, too
        torch.manual_seed(seed)
        sources = [_batches(own, candidate, table, images, stage, options) for stage, table in enumerate(rois)]
        measured = None
        if options.held_out is not None:
            measured = [HeldOut(table, options.held_out, seed=seed, device=device) for table in rois]
        widths = [table.features.shape[1] for table in rois]
        trainees = [
            Trainee(
                own,
                widths,
                rate,
                seed=seed,
                schedule=_schedule(own, options.steps, options.phases),
                device=device,
                make_stage=make_stage,
            )
            for rate in rates
        ]
        start = perf_counter()
        _train(trainees, sources, measured, options)
        seconds = (perf_counter() - start) / len(trainees)
    finished = [
        Fitted(
            [stage.classifier_state() for stage in trainee.stages],
            [stage.loss_state() for stage in trainee.stages],
            trainee.curve,
            trainee.schedule.step,
            trainee.schedule.phases,
            seconds,
            trainee.rate,
        )
        for trainee in trainees
        if not trainee.diverged
    ]
    if not finished:
        raise DivergedError(
            f"{candidate.name} diverges with the learning rates {', '.join(f'{rate:g}' for rate in rates)}; give it "
            "lower ones (learning_rates in the candidates' file)."
        )
    return finished


def best_learning_rate(folds: Sequence[Sequence[Fitted]]) -> float:
    """The learning rate with the best mean held-out measure among those that diverged on no fold, or on the fewest.

    Args:
        folds: what `fit_learning_rates` returned for each fold.
    """
    measures: dict[float, list[float]] = {}
    for fits in folds:
        for one in fits:
            measures.setdefault(one.learning_rate, []).append(one.measure)
    return max(measures, key=lambda rate: (len(measures[rate]), float(np.mean(measures[rate]))))


def _train(
    trainees: Sequence[Trainee],
    sources: Sequence[RoiBatches],
    measured: Sequence[HeldOut] | None,
    options: FitOptions,
) -> None:
    interval = max(1, options.steps // _MEASURES)
    number = 0
    while training := [trainee for trainee in trainees if not trainee.done]:
        batches = [source.draw() for source in sources]
        for trainee in training:
            trainee.step(batches)
        number += 1
        for trainee in training:
            if trainee.done or number % interval == 0:
                trainee.record(measured)
        if options.track is not None and number % interval == 0:
            options.track(min(trainee.schedule.progress for trainee in trainees))


def _batches(
    cfg: Any,
    candidate: Candidate,
    rois: RoiTable,
    images: NDArray[np.int64] | None,
    stage: int,
    options: FitOptions,
) -> RoiBatches:
    seed = (options.seed, stage)
    generator = np.random.default_rng(seed)
    weights = row_weights(rois, images, candidate.sampler, cfg, generator)
    synthetic = None
    if candidate.oversampling:
        synthetic = synthetic_features(rois, np.flatnonzero(weights > 0), candidate.oversampling, generator)
    return RoiBatches(
        rois, weights, batch_size=options.batch_size, seed=seed, device=options.device, synthetic=synthetic
    )


def _training_config(cfg: Any) -> Any:
    """The candidate's config, in which the first step of the learning rate is that of `Schedule`."""
    node = cfg.MODEL.LONG_TAIL.REWEIGHTING
    if node.START == "first_lr_step":
        node.START = PHASE_STARTS[1]
    return cfg


def _schedule(cfg: Any, steps: int, phases: Phases | None) -> Schedule:
    solver = cfg.SOLVER
    warmup = min(solver.WARMUP_ITERS, round(_MOST_WARMUP * steps))
    return Schedule(steps, gamma=solver.GAMMA, warmup=warmup, warmup_factor=solver.WARMUP_FACTOR, phases=phases)
