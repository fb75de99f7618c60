"""Config keys that only a trainer can apply, and the refusal to train where none of them does.

A network, a loader or a sampler of lt_det can be used in anyone's trainer. Keys such as SOLVER.ACCUMULATE change the
loop around them, and would silently do nothing there.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lt_det.compat.torch import autocast_dtypes
from lt_det.errors import LtDetError

DECOUPLED = "MODEL.LONG_TAIL.SECOND_STAGE.METHOD"
LOSS_OF_WEIGHTS = "MODEL.LONG_TAIL.LOSS_OF_WEIGHTS"
SAMPLER_START = "DATALOADER.SAMPLER_START"
ACCUMULATE = "SOLVER.ACCUMULATE"
MAX_TO_KEEP = "SOLVER.MAX_TO_KEEP"
BEST_CHECKPOINT = "SOLVER.BEST_CHECKPOINT.METRIC"
EARLY_STOPPING = "SOLVER.EARLY_STOPPING.PATIENCE"
EMA = "SOLVER.EMA.ENABLED"
VAL_LOSS = "TEST.VAL_LOSS"
COMPILE = "MODEL.COMPILE"
PRECISION = "SOLVER.AMP.PRECISION"
WANDB = "WANDB_PROJECT"

# What applies a key as long as it exists in this process, for example a sampler that starts late.
_appliers: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


class TrainerKeys:
    """The keys of one config that are still to be applied. Code that applies one marks it; training refuses the rest.

    Training means the first pass in training mode: a model is built to predict and to evaluate, too.
    """

    def __init__(self, pending: Mapping[str, Any]) -> None:
        """
        Args:
            pending: keys that are set, with their values.
        """
        self._pending = dict(pending)

    @classmethod
    def from_config(cls, cfg: Any) -> TrainerKeys:
        """The keys that a yaml config sets."""
        pending = {
            DECOUPLED: cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD,
            LOSS_OF_WEIGHTS: cfg.MODEL.LONG_TAIL.LOSS_OF_WEIGHTS,
            SAMPLER_START: cfg.DATALOADER.SAMPLER_START,
            ACCUMULATE: cfg.SOLVER.ACCUMULATE,
            MAX_TO_KEEP: cfg.SOLVER.MAX_TO_KEEP,
            BEST_CHECKPOINT: cfg.SOLVER.BEST_CHECKPOINT.METRIC,
            EARLY_STOPPING: cfg.SOLVER.EARLY_STOPPING.PATIENCE,
            EMA: cfg.SOLVER.EMA.ENABLED,
            VAL_LOSS: cfg.TEST.VAL_LOSS,
            COMPILE: cfg.MODEL.COMPILE,
            WANDB: cfg.WANDB_PROJECT,
            PRECISION: cfg.SOLVER.AMP.PRECISION if cfg.SOLVER.AMP.ENABLED else "",
        }
        return cls._of_values(pending)

    @classmethod
    def from_lazy(cls, train: Mapping[str, Any]) -> TrainerKeys:
        """The keys that the ``train`` node of a LazyConfig sets; those of lt_det may be missing."""
        amp = train.get("amp", {})
        pending = {
            DECOUPLED: train.get("second_stage", ""),
            ACCUMULATE: train.get("accumulate", 1),
            BEST_CHECKPOINT: train.get("best_checkpoint", {}).get("metric", ""),
            EARLY_STOPPING: train.get("early_stopping", {}).get("patience", 0),
            EMA: train.get("ema", {}).get("enabled", False),
            VAL_LOSS: train.get("val_loss", False),
            COMPILE: train.get("compile", False),
            WANDB: train.get("wandb_project", ""),
            PRECISION: amp.get("precision", "") if amp.get("enabled") else "",
        }
        return cls._of_values(pending)

    @classmethod
    def _of_values(cls, values: Mapping[str, Any]) -> TrainerKeys:
        """Without those that ask for nothing. Detectron2's own trainers compute in float16."""
        neutral = {
            ACCUMULATE: 1,
            PRECISION: "float16",
            EARLY_STOPPING: 0,
            **dict.fromkeys((EMA, VAL_LOSS, COMPILE), False),
        }
        return cls({key: value for key, value in values.items() if value not in ("", None, neutral.get(key))})

    def require(self, key: str, value: Any) -> None:
        """Refuse to train until `key` is applied."""
        self._pending[key] = value

    def applied(self, *keys: str) -> None:
        """Mark these keys, set or not, as applied."""
        for key in keys:
            self._pending.pop(key, None)

    def check(self) -> None:
        """Call in a training pass.

        Raises:
            LtDetError: a key that nothing in this training applies.
        """
        if not self._pending:
            return
        if torch.bfloat16 in autocast_dtypes():
            self.applied(PRECISION)
        self.applied(*_appliers.values())
        if self._pending:
            ignored = " and ".join(f"{key} is {value}" for key, value in self._pending.items())
            raise LtDetError(
                f"{ignored}, but this trainer would ignore that; train with lt_det.training.equip(YourTrainer), or "
                "leave the key out."
            )


def mark_applied(model_or_loader: Any, *keys: str) -> None:
    """Declare that the training loop itself applies these keys, so that they are no longer refused.

    Args:
        model_or_loader: a model with lt_det's box heads or, where the heads are Detectron2's own, the training loader
            that `lt_det.data.loader.build_train_loader` returned. They check the keys independently of each other; one
            that checks none is left as it is.
        keys: config keys, for example "SOLVER.ACCUMULATE".
    """
    parts = model_or_loader.modules() if isinstance(model_or_loader, nn.Module) else (model_or_loader,)
    for part in parts:
        if isinstance(pending := getattr(part, "trainer_keys", None), TrainerKeys):
            pending.applied(*keys)


def register_applier(applier: Any, key: str) -> None:
    """Count `key` as applied in this process as long as `applier` exists."""
    _appliers[applier] = key
