"""Train the classifier of a meta-learning candidate on cached RoI features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.candidates.candidate import Candidate
from lt_det.bakeoff.candidates.sampling import row_weights
from lt_det.bakeoff.fitting.batch import Batch, RoiBatches
from lt_det.bakeoff.fitting.classifier import SGD
from lt_det.bakeoff.fitting.fit import Fitted, fit, fit_learning_rates
from lt_det.bakeoff.fitting.meta_set import split_meta_images
from lt_det.bakeoff.fitting.options import FitOptions
from lt_det.bakeoff.fitting.trainee import MakeStage, Stage
from lt_det.errors import LtDetError
from lt_det.meta.closed_form import InnerStep
from lt_det.meta.learner import MetaLearner

logger = logging.getLogger(__name__)


class MetaStage(Stage):
    """The classifier, the loss and the meta-learning method of one stage.

    The classifier's own step is that of every other candidate. The inner step leaves out the clipping of gradients and
    the factors of the bias.

    Args:
        cfg, number, width, device: see `Stage`.
        method: a key of `META_METHODS`.
        meta_batches: RoIs of the meta set.

    Raises:
        LtDetError: see `build_meta_method`; also for a loss with parameters, which would not be trained.
    """

    def __init__(
        self,
        cfg: Any,
        number: int,
        width: int,
        device: torch.device | str,
        *,
        method: str,
        meta_batches: RoiBatches,
    ) -> None:
        super().__init__(cfg, number, width, device)
        if self._parameters:
            raise LtDetError(
                f"The loss {cfg.MODEL.LONG_TAIL.LOSS.NAME} has parameters of its own, which meta-learning does not "
                "train; choose another loss."
            )
        self.learner = MetaLearner(method, self.loss).to(device)
        self._meta_batches = meta_batches
        sgd = SGD.from_config(cfg)
        self._inner = InnerStep(0.0, sgd.momentum, sgd.weight_decay, sgd.nesterov)

    def step(self, batch: Batch, rate: float, progress: float) -> Tensor:
        """Take a step of the method and one of the classifier, and return the loss without the learned weights."""
        self.loss.progress = progress
        meta = self._meta_batches.draw()
        value, gradient = self.learner.step(
            self.classifier,
            (batch.features, batch.labels),
            (meta.features, meta.labels),
            replace(self._inner, learning_rate=rate),
            self._step.momentum,
            self._step.logits(batch).detach(),
        )
        self._step.update(gradient, batch, rate)
        return value

    def loss_state(self) -> dict[str, Tensor]:
        """State of the loss at the end, when what was learned is logged."""
        for line in self.learner.summary():
            logger.info(line)
        return super().loss_state()


def fit_meta(
    cfg: Any,
    candidate: Candidate,
    rois: Sequence[RoiTable],
    images: NDArray[np.int64] | None,
    options: FitOptions,
    *,
    learning_rate: float | None = None,
    meta_images: NDArray[np.int64] | None = None,
) -> Fitted:
    """Train a candidate with `meta` as `lt_det.bakeoff.fitting.fit` trains any other.

    A batch of the meta set has every foreground class of the meta set equally often, and the fraction of background of
    a training.

    Args:
        images: indices of the images to train on and to take the meta set from; None for all.
        meta_images: indices of the images of the meta set, which is then not taken from `images`. With the images to
            train on, as in BALMS, classes of few images are memorized, and what is learned about them says little.
        cfg, candidate, rois, options, learning_rate: see `lt_det.bakeoff.fitting.fit`.

    Raises:
        LtDetError: see `lt_det.bakeoff.fitting.fit`, `split_meta_images` and `MetaStage`.
    """
    images, make_stage = _meta_stages(candidate, rois, images, meta_images, options)
    return fit(cfg, candidate, rois, images, options, learning_rate=learning_rate, make_stage=make_stage)


def fit_meta_learning_rates(
    cfg: Any,
    candidate: Candidate,
    rois: Sequence[RoiTable],
    images: NDArray[np.int64] | None,
    rates: Sequence[float],
    options: FitOptions,
    *,
    meta_images: NDArray[np.int64] | None = None,
) -> list[Fitted]:
    """Train a candidate with `meta` as `fit_learning_rates` trains any other; see there, and `fit_meta`."""
    images, make_stage = _meta_stages(candidate, rois, images, meta_images, options)
    return fit_learning_rates(cfg, candidate, rois, images, rates, options, make_stage=make_stage)


def _meta_stages(
    candidate: Candidate,
    rois: Sequence[RoiTable],
    images: NDArray[np.int64] | None,
    meta_images: NDArray[np.int64] | None,
    options: FitOptions,
) -> tuple[NDArray[np.int64] | None, MakeStage]:
    """The images to train on, and what trains each stage."""
    if meta_images is None:
        images, meta_images = split_meta_images(rois[0], images, options.seed)

    def make_stage(own: Any, number: int, width: int, device: torch.device | str) -> MetaStage:
        stream = (options.seed, number, 1)
        weights = row_weights(rois[number], meta_images, "class_aware", own, np.random.default_rng(stream))
        batches = RoiBatches(rois[number], weights, batch_size=options.batch_size, seed=stream, device=device)
        return MetaStage(own, number, width, device, method=candidate.meta, meta_batches=batches)

    return images, make_stage
