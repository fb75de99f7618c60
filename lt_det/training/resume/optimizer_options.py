"""What a resumed training takes from the optimizer in the checkpoint, in place of what the config says."""

from __future__ import annotations

import logging
from typing import Any

import torch

from lt_det.training.resume.loaded_state import refused

logger = logging.getLogger(__name__)

# Names in a parameter group, and the keys of yaml configs. A checkpoint has the learning rate before warm-up and steps
# as initial_lr.
_OPTIONS = {
    "initial_lr": "SOLVER.BASE_LR (LazyConfig: optimizer.lr)",
    "momentum": "SOLVER.MOMENTUM",
    "nesterov": "SOLVER.NESTEROV",
    "weight_decay": "SOLVER.WEIGHT_DECAY",
    "betas": "betas",
    "eps": "eps",
}

Options = list[dict[str, Any]]


def options_of(optimizer: torch.optim.Optimizer) -> Options:
    """The options of each parameter group, as far as users choose them."""
    groups = [{"initial_lr": group["lr"], **group} for group in optimizer.param_groups]
    return [{name: group[name] for name in _OPTIONS if name in group} for group in groups]


def compare_options(configured: Options, restored: Options, path: str) -> None:
    """Log which options of the config have no effect, because those of the checkpoint replace them.

    Args:
        configured: before the checkpoint was loaded.
        restored: afterwards.
        path: of the checkpoint.

    Raises:
        LtDetError: the checkpoint is of another kind of optimizer, which fails at its first step.
    """
    changes: dict[str, str] = {}
    for wanted, got in zip(configured, restored, strict=True):
        if missing := sorted(wanted.keys() - got.keys()):
            raise refused(path, f"its optimizer is of another kind, without {', '.join(missing)}")
        for name in wanted.keys() & got.keys():
            if wanted[name] != got[name]:
                changes.setdefault(_OPTIONS[name], f"{_text(got[name])} and not {_text(wanted[name])}")
    if changes:
        logger.warning(
            f"--resume continues with the optimizer of the checkpoint {path}: "
            f"{', '.join(f'{key} stays {change}' for key, change in sorted(changes.items()))}. To train with the new "
            "values, set MODEL.WEIGHTS (LazyConfig: train.init_checkpoint) to the checkpoint, and OUTPUT_DIR to a new "
            "folder."
        )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
