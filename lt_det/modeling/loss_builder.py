"""Bring a loss and the counts of its training set together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from lt_det.data.class_counts import training_stats
from lt_det.errors import LtDetError
from lt_det.losses import (
    LOSSES,
    ClassificationLoss,
    DeferredReweighting,
    build_loss,
    build_loss_without_stats,
    loss_class,
)
from lt_det.losses.class_weights import MeanOver
from lt_det.losses.softmax import SoftmaxLoss

logger = logging.getLogger(__name__)


def build_loss_for_data(
    name: str,
    num_classes: int,
    datasets: Sequence[str],
    *,
    class_stats: str = "",
    cache_dir: str = "",
    reweighting_start: float | None = None,
    reweighting_beta: float = 0.9999,
    reweighting_mean_over: MeanOver = "classes",
    **hyperparameters: Any,
) -> ClassificationLoss:
    """Build a loss by name for registered training sets; what yaml configs and LazyConfigs both call.

    On a machine without the training sets the loss still gives scores, and refuses to train with the reason.

    Args:
        name: a registered loss.
        num_classes: K.
        datasets, class_stats, cache_dir: see `training_stats`.
        reweighting_start, reweighting_beta, reweighting_mean_over: see `DeferredReweighting`; None: no re-weighting.
        hyperparameters: of the loss.

    Raises:
        LtDetError: unknown loss or hyper-parameter, or counts of another number of classes.
    """
    reweighted = reweighting_start is not None
    if reweighted and not loss_class(name).takes_reweighting:
        able = ", ".join(sorted(known for known, loss in LOSSES.items() if loss.takes_reweighting))
        raise LtDetError(
            f"REWEIGHTING goes with {able}, and not with '{name}'; leave MODEL.LONG_TAIL.REWEIGHTING.START out."
        )
    if not loss_class(name).statistics and not reweighted:
        return build_loss_without_stats(name, num_classes, **hyperparameters)
    try:
        stats = training_stats(datasets, class_stats=class_stats, cache_dir=cache_dir)
        if reweighted or "instance_counts" in loss_class(name).statistics:
            stats.counts("instances")  # Detectron2's LVIS metadata has counts of images only
    except LtDetError as error:
        logger.warning("The %s loss is built for testing only: %s", name, error)
        loss = build_loss_without_stats(name, num_classes, reason=str(error), **hyperparameters)
        if reweighted:
            loss.missing_statistics = str(error)
        return loss
    stats.check_num_classes(num_classes)
    loss = build_loss(name, stats, **hyperparameters)
    if isinstance(loss, SoftmaxLoss) and reweighting_start is not None:
        counts = stats.training_counts("instances")
        loss.reweighting = DeferredReweighting(
            counts, start=reweighting_start, beta=reweighting_beta, mean_over=reweighting_mean_over
        )
    return loss
