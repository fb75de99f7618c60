"""One-sentence errors for a training run that fails: losses that are not finite, workers that die, a full disk."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from lt_det.compat.torch import DEAD_WORKER, is_dead_worker
from lt_det.compat.torch_distributed import is_peer_failure
from lt_det.errors import DISK_FULL, LtDetError, reason_of
from lt_det.terminal import count_of
from lt_det.training.checkpointer import last_checkpoint
from lt_det.training.detectron2_keys.part_names import misspelled_part
from lt_det.training.resume.output_lock import hold_output_dir, release_output_dir

_REFERENCE_RATE, _REFERENCE_BATCH = 0.02, 16  # of Detectron2's model zoo

_Explained = TypeVar("_Explained")
_TRAIN_LOOP = logging.getLogger("detectron2.engine.train_loop")


@contextlib.contextmanager
def watched(trainer: Any, checkpointer: Checkpointer) -> Iterator[None]:
    """Context that stops training with a one-sentence error: an infinite or NaN loss, a dead worker, a full disk.

    Losses are checked before the backward pass, so that the bad step changes no weight. With several processes, the one
    with the bad loss reports it; the others make no step either, because they wait for its gradients.

    The main process holds the lock of the checkpointer's folder, so that no other training runs there.

    Args:
        trainer: a Detectron2 trainer, with the model in `trainer.model`.
        checkpointer: its last checkpoint is part of the error.

    Raises:
        LtDetError: a loss or an RPN box is not finite, a data loading worker has died, a disk is full, or another
            training runs in the folder.
    """
    hold_output_dir(checkpointer.save_dir)
    monitor = _StepMonitor(trainer, checkpointer)
    hooks = (
        trainer.model.register_forward_pre_hook(monitor.before_forward),
        trainer.model.register_forward_hook(monitor.after_forward),
    )
    _TRAIN_LOOP.addFilter(monitor.shorten_log)
    try:
        yield
    except Exception as error:
        explained = _uninterrupted(monitor.explain, error)
        if explained is None or explained is error:
            raise
        raise explained from error
    finally:
        _TRAIN_LOOP.removeFilter(monitor.shorten_log)
        for hook in hooks:
            hook.remove()
        release_output_dir(checkpointer.save_dir)


@contextlib.contextmanager
def watched_evaluation() -> Iterator[None]:
    """Context of an evaluation without training: a dead worker is a one-sentence error.

    Raises:
        LtDetError: a data loading worker has died.
    """
    try:
        yield
    except Exception as error:
        if not _uninterrupted(is_dead_worker, error):
            raise
        raise LtDetError(f"A data loading worker died during the evaluation {_advice(error)}.") from error


def _uninterrupted(explain: Callable[[Exception], _Explained], error: Exception) -> _Explained:
    """What `explain` says of an error, although torch may raise another one in the meantime.

    Its handler of SIGCHLD raises an error in the main thread, wherever that is, once a killed worker is gone.
    """
    while True:
        try:
            return explain(error)
        except RuntimeError as another:
            if not str(another).startswith(DEAD_WORKER):
                raise


def _advice(error: BaseException) -> str:
    """Why a worker died, and what to do, after "died ..."; later errors about the same worker are silenced."""
    reason = str(error).strip().split("\n")[0].rstrip(". ")
    if not reason.startswith(DEAD_WORKER):
        reason = f"while it passed an image to the main process, {type(error).__name__}"
    _silence_dead_workers()
    return (
        f"({reason}), probably because it ran out of memory; lower DATALOADER.NUM_WORKERS (LazyConfig: "
        "dataloader.train.num_workers) or give the job more memory"
    )


def _silence_dead_workers() -> None:
    """torch raises its error about a dead worker again, in destructors while the process ends."""
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not is_dead_worker(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Context, or decorator, that turns an exception into one sentence, with its type, text and place.

    For code that builds a training: Detectron2 does not check what a config says, and then fails in any way.

    Args:
        what: beginning of the sentence, such as "The training cannot be built".

    Raises:
        LtDetError: another exception than this, and than the failure of another process.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, LtDetError) or is_peer_failure(error):
            raise
        raise _unexpected(what, error) from error


def _unexpected(what: str, error: BaseException) -> LtDetError:
    if sentence := misspelled_part(error):
        return LtDetError(sentence)
    return LtDetError(
        f"{what} ({reason_of(error)}); correct the key of the config, or the code, that causes it; --traceback shows "
        "where."
    )


class _StepMonitor:
    """Checks the losses of each step, and explains exceptions by its iteration and images."""

    def __init__(self, trainer: Any, checkpointer: Checkpointer) -> None:
        self._trainer, self._checkpointer = trainer, checkpointer
        self._images: list[str] = []

    def before_forward(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        self._images = [str(record.get("file_name", "without a name")) for record in args[0]]

    def after_forward(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not model.training:  # evaluation during training
            return
        losses = output if isinstance(output, Mapping) else {"total_loss": output}
        # Only the sum, because each check waits for the GPU. In float32, because a sum in float16 may overflow.
        if torch.stack([loss.detach().float() for loss in losses.values()]).sum().isfinite():
            return
        values = {name: loss.item() for name, loss in losses.items() if not loss.isfinite()}
        raise self._diverged(", ".join(f"{name} is {value}" for name, value in values.items()))

    def explain(self, error: BaseException | None) -> LtDetError | None:
        """The error to report for an exception; None for a bug.

        Before an iteration is done, the cause is a config or data that Detectron2 does not check, and no bug.
        """
        if isinstance(error, LtDetError):
            return error
        reason = str(error).strip().split("\n")[0].rstrip(". ")
        if isinstance(error, FloatingPointError):  # Detectron2's RPN checks its boxes before there is a loss
            return self._diverged(reason.split(". ")[0])
        if error is not None and is_dead_worker(error):
            return LtDetError(
                f"A data loading worker died in iteration {self._trainer.iter} {_advice(error)}; "
                f"{last_checkpoint(self._checkpointer)}."
            )
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return LtDetError(
                f"{error.filename or 'A file'} cannot be written in iteration {self._trainer.iter} "
                f"({error.strerror}); free space on the disk; {last_checkpoint(self._checkpointer)}."
            )
        first = getattr(self._trainer, "iter", 0) == getattr(self._trainer, "start_iter", None)
        if first and isinstance(error, Exception) and not is_peer_failure(error):
            return _unexpected("The first iteration fails", error)
        return None

    def shorten_log(self, record: logging.LogRecord) -> bool:
        """Logging filter that replaces the traceback that Detectron2 logs for any exception by the explanation."""
        error = record.exc_info[1] if record.exc_info else None
        reason = "another process has ended." if is_peer_failure(error) else self.explain(error)
        if reason is not None:
            record.msg, record.exc_info = f"Training stopped: {reason}", None
        return True

    def _diverged(self, what: str) -> LtDetError:
        problem = getattr(self._checkpointer, "problem_at_start", "")
        return LtDetError(
            f"Training diverged in iteration {self._trainer.iter}: {what} (images {', '.join(self._images)}); "
            f"{problem.rstrip('.') + '; ' if problem else ''}"
            f"lower SOLVER.BASE_LR (LazyConfig: optimizer.lr){self._high_rate()}, clip gradients "
            "(SOLVER.CLIP_GRADIENTS, LazyConfig: train.clip_norm), or check these images and their boxes; "
            f"{last_checkpoint(self._checkpointer)}."
        )

    def _high_rate(self) -> str:
        """How the learning rate of SGD compares with Detectron2's at this batch size; empty if it is not higher."""
        step = getattr(self._trainer, "_trainer", self._trainer)
        optimizer = getattr(step, "optimizer", None)
        if not isinstance(optimizer, torch.optim.SGD):
            return ""
        rate = max(float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups)
        images = len(self._images) * getattr(step, "passes", 1) * comm.get_world_size()
        usual = _REFERENCE_RATE * images / _REFERENCE_BATCH
        if rate <= 1.01 * usual:
            return ""
        return (
            f", which is {rate:g} for {count_of(images, 'image')} per step, {rate / usual:.1f} times {usual:g}, "
            f"Detectron2's {_REFERENCE_RATE} for {_REFERENCE_BATCH} images scaled linearly"
        )
