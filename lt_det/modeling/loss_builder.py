"""Build a loss with the class counts of its training set."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from lt_det.config import (
    REWEIGHTING_DEFAULTS,
    loss_hyperparameters,
    reweighting_start,
    warn_of_reweighting_without_start,
)
from lt_det.data.class_counts import training_stats
from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import read_json
from lt_det.losses import (
    ClassificationLoss,
    ClassReweighting,
    build_loss,
    build_loss_without_stats,
    loss_class,
)
from lt_det.losses.class_weights import WEIGHTS, MeanOver, weights_by_name
from lt_det.losses.label_smoothing import PRIORS
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import warn_once

logger = logging.getLogger(__name__)

_Built = TypeVar("_Built", ClassificationLoss, ClassReweighting)


def loss_of_config(cfg: Any) -> ClassificationLoss | ClassReweighting:
    """The loss that MODEL.LONG_TAIL asks for, with the class counts of DATASETS.TRAIN.

    Raises:
        LtDetError: see `build_loss_for_data`, and `lt_det.config.reweighting_start`.
    """
    node = cfg.MODEL.LONG_TAIL
    return build_loss_for_data(
        node.LOSS.NAME,
        cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        cfg.DATASETS.TRAIN,
        class_stats=node.CLASS_STATS,
        cache_dir=cfg.OUTPUT_DIR,
        reweighting_start=reweighting_start(cfg),
        reweighting_weights=node.REWEIGHTING.WEIGHTS,
        reweighting_beta=node.REWEIGHTING.BETA,
        reweighting_power=node.REWEIGHTING.POWER,
        reweighting_mean_over=node.REWEIGHTING.MEAN_OVER,
        **loss_hyperparameters(cfg),
    )


def build_loss_for_data(
    name: str,
    num_classes: int,
    datasets: Sequence[str],
    *,
    class_stats: str = "",
    cache_dir: str = "",
    reweighting_start: float | None = None,
    reweighting_weights: str = REWEIGHTING_DEFAULTS["WEIGHTS"],
    reweighting_beta: float = REWEIGHTING_DEFAULTS["BETA"],
    reweighting_power: float = REWEIGHTING_DEFAULTS["POWER"],
    reweighting_mean_over: MeanOver = REWEIGHTING_DEFAULTS["MEAN_OVER"],
    **hyperparameters: Any,
) -> ClassificationLoss | ClassReweighting:
    """Build a loss by name for registered training sets, for yaml configs and LazyConfigs.

    On a machine without the training sets the loss still gives scores, and refuses to train with the reason.

    Args:
        name: a registered loss.
        num_classes: K.
        datasets, class_stats, cache_dir: see `training_stats`.
        reweighting_start: fraction of the training at which `ClassReweighting` begins; None: no re-weighting.
        reweighting_weights: a name of `weights_by_name`, or a json file, {class name: weight} or a list.
        reweighting_beta, reweighting_power, reweighting_mean_over: see `weights_by_name`.
        hyperparameters: those of the loss. The prior of label smoothing may also be a json file, a list with one
            probability per class, background last.

    Raises:
        LtDetError: unknown loss or hyper-parameter, class counts that do not have K classes, a file that does not hold
            what it should, or weights that are chosen without `reweighting_start`.
    """
    reweighting = {
        "WEIGHTS": reweighting_weights,
        "BETA": reweighting_beta,
        "POWER": reweighting_power,
        "MEAN_OVER": reweighting_mean_over,
    }
    warn_of_reweighting_without_start({"START": reweighting_start, **reweighting})
    prior = hyperparameters.get("prior")
    if isinstance(prior, str) and prior not in PRIORS and "prior" in loss_class(name).hyperparameters():
        hyperparameters["prior"] = _read_prior(prior)
    reweighted = reweighting_start is not None
    needs_counts = "instance_counts" in loss_class(name).statistics or (reweighted and reweighting_weights in WEIGHTS)
    if not loss_class(name).statistics and not reweighted:
        return build_loss_without_stats(name, num_classes, **hyperparameters)
    try:
        stats = training_stats(datasets, class_stats=class_stats, cache_dir=cache_dir)
        if needs_counts:
            stats.counts("instances")  # Detectron2's LVIS metadata has counts of images only
    except LtDetError as error:
        logger.warning("The %s loss is built for testing only: %s", name, error)
        loss = build_loss_without_stats(name, num_classes, reason=str(error), **hyperparameters)
        if reweighted:
            loss.refuse_training(str(error))
        return loss
    stats.check_num_classes(num_classes)
    loss = build_loss(name, stats, **hyperparameters)
    if reweighting_start is None:
        return _remarked(loss, stats)
    if reweighting_weights in WEIGHTS:
        weights = weights_by_name(
            reweighting_weights,
            stats.training_counts("instances"),
            beta=reweighting_beta,
            power=reweighting_power,
            mean_over=reweighting_mean_over,
        )
    else:
        for key, value in reweighting.items():
            if key != "WEIGHTS" and value != REWEIGHTING_DEFAULTS[key]:
                raise LtDetError(
                    f"REWEIGHTING.{key} is {value}, but the weights of the file {reweighting_weights} are used as they "
                    f"are; leave {key} out, or set REWEIGHTING.WEIGHTS to {' or '.join(WEIGHTS)}."
                )
        weights = _read_weights(reweighting_weights, stats)
    return _remarked(ClassReweighting(loss, weights, start=reweighting_start), stats)


def _remarked(loss: _Built, stats: ClassStats) -> _Built:
    """The loss, after a warning if these counts leave it nothing to balance: once for all heads of a cascade."""
    if remark := loss.remark(stats):
        warn_once(logger, remark)
    return loss


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_file(key: str, value: str, names: Iterable[str]) -> None:
    """Raise for a value that is neither one of `names`, which the caller has found out, nor a file."""
    if not Path(value).is_file():
        close = difflib.get_close_matches(value.strip().lower(), names, n=1)
        meant = f"did you mean {close[0]}? It can be" if close else "write"
        raise LtDetError(f"{key} is '{value}'; {meant} {', '.join(names)}, or the path of a json file that exists.")


def _read_prior(file: str) -> list[float]:
    _check_file("LABEL_SMOOTHING.PRIOR", file, PRIORS)
    prior = read_json(file, "LABEL_SMOOTHING.PRIOR (uniform, frequency, or a json file)")
    if not isinstance(prior, list) or not all(map(_is_number, prior)):
        raise LtDetError(f"LABEL_SMOOTHING.PRIOR {file} is not a list of numbers; write one probability per class.")
    return prior


def _read_weights(file: str, stats: ClassStats) -> Tensor:
    """(K,) weights of a file: {class name: weight}, or a list in the order of the classes."""
    _check_file("REWEIGHTING.WEIGHTS", file, WEIGHTS)
    kind = f"REWEIGHTING.WEIGHTS ({', '.join(WEIGHTS)}, or a json file)"
    weights = read_json(file, kind)
    if isinstance(weights, dict):
        wrong = [name for name in stats.names if name not in weights] or [
            name for name in weights if name not in stats.names
        ]
        if wrong:
            raise LtDetError(
                f"The weights {file} and the training set {stats.source} differ in class '{wrong[0]}'; give each of "
                f"the {stats.num_classes} classes one weight."
            )
        weights = [weights[name] for name in stats.names]
    if not isinstance(weights, list) or not all(map(_is_number, weights)):
        raise LtDetError(f"REWEIGHTING.WEIGHTS {file} needs {{class name: weight}} or a list of numbers.")
    return torch.tensor(weights, dtype=torch.float64)
