"""Bring a loss and the counts of its training set together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from lt_det.data.training_stats import training_stats
from lt_det.errors import LtDetError
from lt_det.losses import ClassificationLoss, build_loss, build_loss_without_stats, loss_class

logger = logging.getLogger(__name__)


def build_loss_for_data(
    name: str,
    num_classes: int,
    datasets: Sequence[str],
    *,
    class_stats: str = "",
    cache_dir: str = "",
    **hyperparameters: Any,
) -> ClassificationLoss:
    """Build a loss by name for registered training sets; what yaml configs and LazyConfigs both call.

    On a machine without the training sets the loss still gives scores, and refuses to train with the reason.

    Args:
        name: a registered loss.
        num_classes: K.
        datasets, class_stats, cache_dir: see `training_stats`.
        hyperparameters: of the loss.

    Raises:
        LtDetError: unknown loss or hyper-parameter, or counts of another number of classes.
    """
    if not loss_class(name).statistics:
        return build_loss_without_stats(name, num_classes, **hyperparameters)
    try:
        stats = training_stats(datasets, class_stats=class_stats, cache_dir=cache_dir)
    except LtDetError as error:
        logger.warning("The %s loss is built for testing only: %s", name, error)
        return build_loss_without_stats(name, num_classes, reason=str(error), **hyperparameters)
    stats.check_num_classes(num_classes)
    return build_loss(name, stats, **hyperparameters)
