"""Why a training fails, in one sentence."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training.checkpointer import DEAD_WORKER, last_checkpoint
from lt_det.training.launch.worker import is_lost

_TRAIN_LOOP = logging.getLogger("detectron2.engine.train_loop")


@contextlib.contextmanager
def watched(trainer: Any, checkpointer: Checkpointer) -> Iterator[None]:
    """Within, a training ends with a sentence where its loss is infinite or NaN, or a process that loads data dies.

    The loss is looked at before the backward pass: the bad step changes no weight. Among several processes the one
    whose loss is bad tells, and keeps the others from that step too, because they wait for its gradients.

    Args:
        trainer: any of Detectron2's, with the model in `trainer.model`.
        checkpointer: to name the last checkpoint.

    Raises:
        LtDetError: the sentence.
    """
    watch = _Watch(trainer, checkpointer)
    hooks = (
        trainer.model.register_forward_pre_hook(watch.before_forward),
        trainer.model.register_forward_hook(watch.after_forward),
    )
    _TRAIN_LOOP.addFilter(watch.shorten_log)
    try:
        yield
    except Exception as error:
        explained = watch.explain(error)
        if explained is None or explained is error:
            raise
        raise explained from error
    finally:
        _TRAIN_LOOP.removeFilter(watch.shorten_log)
        for hook in hooks:
            hook.remove()


class _Watch:
    """What a training is at: the iteration, the images, and whether the losses are finite."""

    def __init__(self, trainer: Any, checkpointer: Checkpointer) -> None:
        self._trainer, self._checkpointer = trainer, checkpointer
        self._images: list[str] = []

    def before_forward(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        self._images = [str(record.get("file_name", "without a name")) for record in args[0]]

    def after_forward(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not model.training:  # an evaluation during training
            return
        losses = output if isinstance(output, Mapping) else {"total_loss": output}
        # One look at the sum, because each look waits for the GPU. In float32: a sum of halves may overflow.
        if torch.stack([loss.detach().float() for loss in losses.values()]).sum().isfinite():
            return
        values = {name: loss.item() for name, loss in losses.items() if not loss.isfinite()}
        raise self._diverged(", ".join(f"{name} is {value}" for name, value in values.items()))

    def explain(self, error: BaseException | None) -> LtDetError | None:
        """The sentence for an exception; None for a bug."""
        if isinstance(error, LtDetError):
            return error
        reason = str(error).strip().split("\n")[0].rstrip(". ")
        if isinstance(error, FloatingPointError):  # Detectron2's RPN looks at its boxes before there is a loss
            return self._diverged(reason.split(". ")[0])
        if isinstance(error, RuntimeError) and reason.startswith(DEAD_WORKER):
            return LtDetError(
                f"A process that loads data died in iteration {self._trainer.iter} ({reason}), mostly for want of "
                "memory; lower DATALOADER.NUM_WORKERS (LazyConfig: dataloader.train.num_workers) or give the job more "
                f"memory; {last_checkpoint(self._checkpointer)}."
            )
        return None

    def shorten_log(self, record: logging.LogRecord) -> bool:
        """A filter that puts the sentence where Detectron2 logs the traceback of whatever ends a training."""
        error = record.exc_info[1] if record.exc_info else None
        reason = "another process has ended." if is_lost(error) else self.explain(error)
        if reason is not None:
            record.msg, record.exc_info = f"Training ends: {reason}", None
        return True

    def _diverged(self, what: str) -> LtDetError:
        return LtDetError(
            f"Training diverged in iteration {self._trainer.iter}: {what}, with the images {', '.join(self._images)}; "
            "lower SOLVER.BASE_LR (LazyConfig: optimizer.lr), clip gradients (SOLVER.CLIP_GRADIENTS, LazyConfig: "
            f"train.clip_norm), or look at these images and their boxes; {last_checkpoint(self._checkpointer)}."
        )
