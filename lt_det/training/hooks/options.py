"""What a config says about the hooks of this folder, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lt_det.config import EMA_DECAY
from lt_det.errors import LtDetError
from lt_det.training.hooks.metric import Metric, is_of_validation


@dataclass(frozen=True)
class HookOptions:
    """The same keys of a yaml config and of a LazyConfig.

    Attributes:
        metric: of the best checkpoint and of early stopping; None: neither.
        patience: evaluations before the training ends early; 0: it does not.
        min_delta: see `EarlyStopping`.
        ema_decay: of the moving average of the weights; None: it is off.
        val_loss: whether to compute the validation loss.
    """

    metric: Metric | None = None
    patience: int = 0
    min_delta: float = 0.0
    ema_decay: float | None = None
    val_loss: bool = False

    @classmethod
    def from_config(cls, cfg: Any) -> HookOptions:
        """
        Raises:
            LtDetError: a value of a key is out of range or of another type, or a key would have no effect.
        """
        best, early, ema = cfg.SOLVER.BEST_CHECKPOINT, cfg.SOLVER.EARLY_STOPPING, cfg.SOLVER.EMA
        options = cls._of(
            best.METRIC, best.MODE, early.PATIENCE, early.MIN_DELTA, ema.ENABLED, ema.DECAY, cfg.TEST.VAL_LOSS
        )
        options._check(cfg.TEST.EVAL_PERIOD)
        sets = list(cfg.DATASETS.TEST)
        if options.metric is not None and not sets:
            raise LtDetError(
                f"{_key('BEST_CHECKPOINT.METRIC')} is {options.metric.name}, but DATASETS.TEST is empty, so that "
                "nothing is evaluated; name a test set."
            )
        if options.val_loss and not sets:
            raise LtDetError("TEST.VAL_LOSS is True, but DATASETS.TEST is empty; name a test set.")
        if options.metric is not None and len(sets) > 1 and not options.metric.name.startswith(_prefixes(sets)):
            raise LtDetError(
                f"{_key('BEST_CHECKPOINT.METRIC')} is {options.metric.name}, but DATASETS.TEST has {len(sets)} sets; "
                f"write which one decides, such as {sets[0]}/{options.metric.name}."
            )
        if options.ema_decay is not None and cfg.TEST.PRECISE_BN.ENABLED:
            raise LtDetError(
                "TEST.PRECISE_BN computes the statistics of batch normalization for the last weights, but SOLVER.EMA "
                "evaluates their moving average, with the average of the statistics; switch one of them off."
            )
        return options

    @classmethod
    def from_lazy(cls, train: Mapping[str, Any]) -> HookOptions:
        """As `from_config`, of the ``train`` node of a LazyConfig; the keys may be missing.

        Raises:
            LtDetError: see there.
        """
        nodes = {key: train.get(key, {}) for key in ("best_checkpoint", "early_stopping", "ema")}
        for key, node in nodes.items():
            if not isinstance(node, Mapping):
                raise LtDetError(f"train.{key} is {node!r}; write its keys, as in configs/lazy/common/train.py.")
        best, early, ema = nodes.values()
        options = cls._of(
            *(best.get("metric", ""), best.get("mode", "auto")),
            *(early.get("patience", 0), early.get("min_delta", 0.0)),
            *(ema.get("enabled", False), ema.get("decay", EMA_DECAY)),
            train.get("val_loss", False),
        )
        if not isinstance(compiles := train.get("compile", False), bool):
            raise LtDetError(f"train.compile is {compiles!r}; write True or False.")
        options._check(train["eval_period"])
        return options

    def metric_of(self, name: str, test_sets: Sequence[str]) -> Metric | None:
        """The metric, if it is of the evaluation of the test set `name`, one of `test_sets`; else None."""
        if self.metric is None or len(test_sets) == 1:
            return self.metric
        return self.metric if self.metric.name.startswith(_prefixes([name])) else None

    @classmethod
    def _of(
        cls, metric: Any, mode: Any, patience: Any, min_delta: Any, enabled: Any, decay: Any, val_loss: Any
    ) -> HookOptions:
        if not isinstance(metric, str):
            raise LtDetError(f"{_key('BEST_CHECKPOINT.METRIC')} is {metric!r}; write the name of a metric, or ''.")
        chosen = Metric(metric, mode) if metric else None
        if chosen is None and mode != "auto":
            raise LtDetError(f"{_key('BEST_CHECKPOINT.MODE')} is {mode}, but there is no METRIC; set it, too.")
        if type(patience) is not int or patience < 0:
            raise LtDetError(
                f"{_key('EARLY_STOPPING.PATIENCE')} is {patience!r}; write a number of evaluations, or 0 for none."
            )
        check_min_delta(min_delta)
        if min_delta and not patience:
            raise LtDetError(
                f"{_key('EARLY_STOPPING.MIN_DELTA')} is {min_delta}, but PATIENCE is 0, which never stops; set it, too."
            )
        for key, value in (("SOLVER.EMA.ENABLED", enabled), ("TEST.VAL_LOSS", val_loss)):
            if not isinstance(value, bool):
                raise LtDetError(f"{key} (in a LazyConfig, under train) is {value!r}; write True or False.")
        check_decay(decay)
        return cls(chosen, patience, float(min_delta), float(decay) if enabled else None, val_loss)

    def _check(self, eval_period: int) -> None:
        if self.patience and self.metric is None:
            raise LtDetError(
                f"{_key('EARLY_STOPPING.PATIENCE')} is {self.patience}, but there is no metric to compare; set "
                f"{_key('BEST_CHECKPOINT.METRIC')}, for example to bbox/AP."
            )
        if self.patience and eval_period <= 0:
            raise LtDetError(
                f"{_key('EARLY_STOPPING.PATIENCE')} is {self.patience}, but TEST.EVAL_PERIOD (LazyConfig: "
                f"train.eval_period) is {eval_period}: nothing is evaluated before the end; set it, too."
            )
        if self.metric is not None and not self.val_loss and is_of_validation(self.metric.name):
            raise LtDetError(
                f"{_key('BEST_CHECKPOINT.METRIC')} is {self.metric.name}, which only TEST.VAL_LOSS (LazyConfig: "
                "train.val_loss) computes; set it to True."
            )


def check_min_delta(value: Any) -> None:
    """
    Raises:
        LtDetError: a value that is not a number of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise LtDetError(f"{_key('EARLY_STOPPING.MIN_DELTA')} is {value!r}; write a number of at least 0.")


def check_decay(value: Any) -> None:
    """
    Raises:
        LtDetError: a value that is not a number between 0 and 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise LtDetError(f"{_key('EMA.DECAY')} is {value!r}; write a number below 1, such as {EMA_DECAY}.")


def _prefixes(sets: Sequence[str]) -> tuple[str, ...]:
    """What the names of metrics begin with where there are several test sets."""
    return tuple(f"{name}/" for name in sets)


def _key(name: str) -> str:
    """A key of SOLVER with its name in a LazyConfig."""
    return f"SOLVER.{name} (LazyConfig: train.{name.lower()})"
