"""The metric that chooses the best checkpoint and stops a training early."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lt_det.errors import LtDetError
from lt_det.statistics.buckets import UNSEEN
from lt_det.trainer_keys import mark_applied
from lt_det.training.preemption import evaluation_was_interrupted

VALIDATION = "val_"  # what the names of the metrics of TEST.VAL_LOSS begin with, behind that of the test set
BUCKET_MEAN = "bucket_mean"  # bbox/bucket_mean: the mean of bbox/APr, bbox/APc and bbox/APf, or of the buckets' own

_OF_BUCKET = re.compile(r"AP([rcf]|-.+)")
_MODES = ("auto", "max", "min")
_MOST_BUCKETS = 20  # in a message; more names of the form AP-... are of classes, which COCOEvaluator has
_NO_METRICS = ("lr",)  # what Detectron2 logs with every iteration in the same way as metrics


@dataclass(frozen=True)
class Metric:
    """A metric of the evaluation, by the name that it has in metrics.json.

    Attributes:
        name: such as ``bbox/APr``, ``val_total_loss``, or ``bbox/bucket_mean``, the mean AP of the buckets that have
            one. With several test sets the name of the set comes first: ``my_val/bbox/AP``.
        mode: "max" if higher values are better, "min" if lower ones are; "auto" is "min" for losses.
    """

    name: str
    mode: str = "auto"

    def __post_init__(self) -> None:
        """
        Raises:
            LtDetError: an unknown mode.
        """
        if self.mode not in _MODES:
            raise LtDetError(
                f"SOLVER.BEST_CHECKPOINT.MODE (LazyConfig: train.best_checkpoint.mode) is '{self.mode}'; write "
                "auto, max or min."
            )

    def is_better(self, value: float, than: float | None, by: float = 0.0) -> bool:
        """Whether a value is better than another one by more than `by`; nan and infinite values never are."""
        if not math.isfinite(value):
            return False
        if than is None:
            return True
        lower = self.mode == "min" or (self.mode == "auto" and "loss" in self.name.rpartition("/")[2])
        return value < than - by if lower else value > than + by

    def value_in(self, metrics: Mapping[str, float]) -> float | None:
        """Its value in metrics by name, nan without ground truth; None if it is not among them."""
        task, _, last = self.name.rpartition("/")
        if last != BUCKET_MEAN:
            return metrics.get(self.name)
        buckets = [name for name in metrics if name.rpartition("/")[0] == task and _is_of_bucket(name)]
        known = [value for name in buckets if math.isfinite(value := metrics[name])]
        if not buckets:
            return None
        return sum(known) / len(known) if known else math.nan

    def after_evaluation(self, trainer: Any) -> float | None:
        """Its value in the evaluation that has just ended; None if a signal interrupted it. In the main process only.

        Raises:
            LtDetError: the evaluation does not compute it.
        """
        storage = trainer.storage
        found = {name: value for name, (value, iteration) in storage.latest().items() if iteration == storage.iter}
        value = self.value_in(found)
        if value is None and not evaluation_was_interrupted(trainer):
            smoothed = storage.smoothing_hints()  # losses and times are, metrics are not
            raise self.unknown({name: found[name] for name in found if not smoothed[name] and name not in _NO_METRICS})
        return value

    def check_first(self, metrics: Mapping[str, float], complete: bool, prefix: str = "") -> None:
        """Compare the name with those of a first evaluation, before the training.

        Args:
            metrics: without the validation loss.
            complete: whether nothing else computes metrics.
            prefix: what their names begin with, see `metric_prefix`.

        Raises:
            LtDetError: no evaluation will compute it.
        """
        tasks = {name.rpartition("/")[0] for name in metrics}
        task, _, last = self.name.rpartition("/")
        if is_of_validation(self.name):
            if self.name != prefix + last:
                raise self.unknown({f"{prefix}{last}": 0.0})
            return
        if task not in tasks and not complete:
            return
        if self.value_in(metrics) is None:
            raise self.unknown(metrics)

    def unknown(self, metrics: Mapping[str, float]) -> LtDetError:
        """The error for metrics without this one."""
        tasks = dict.fromkeys(name.rpartition("/")[0] for name in metrics if _is_of_bucket(name))
        names = [*metrics, *(f"{task}/{BUCKET_MEAN}" for task in tasks)]
        by_class = [name for name in names if "/AP-" in name]
        if len(by_class) > _MOST_BUCKETS:
            names = [name for name in names if name not in by_class]
        return LtDetError(
            f"SOLVER.BEST_CHECKPOINT.METRIC (LazyConfig: train.best_checkpoint.metric) is {self.name}, which the "
            f"evaluation does not compute; write one of {', '.join(sorted(names)) or 'the metrics in metrics.json'}."
        )


def is_of_validation(name: str) -> bool:
    """Whether TEST.VAL_LOSS computes a metric."""
    return name.rpartition("/")[2].startswith(VALIDATION)


def _is_of_bucket(name: str) -> bool:
    task, _, last = name.rpartition("/")
    return bool(task) and _OF_BUCKET.fullmatch(last) is not None and last != f"AP-{UNSEEN}"


def metric_prefix(test_set: str, test_sets: Sequence[str]) -> str:
    """What Detectron2 puts before the metrics of one of `test_sets`: its name, where there are several."""
    return f"{test_set}/" if len(test_sets) > 1 else ""


def is_evaluated(trainer: Any, period: int) -> bool:
    """Whether Detectron2's EvalHook has evaluated after the step that has just ended."""
    done = trainer.iter + 1
    return period > 0 and done % period == 0 and done != trainer.max_iter


@contextlib.contextmanager
def at_last_step(trainer: Any) -> Iterator[None]:
    """Within, a trainer whose iterations have ended is at the last of them, which a checkpoint has to say."""
    after = trainer.iter  # of a finished training that is resumed, Detectron2 counts one iteration more
    trainer.iter = min(after, max(trainer.start_iter, trainer.max_iter)) - 1
    try:
        yield
    finally:
        trainer.iter = after


def mark_hook(trainer: Any, key: str) -> None:
    """Declare that a hook in `trainer` applies a config key, see `mark_applied`."""
    for part in ("model", "data_loader"):
        if (found := getattr(trainer, part, None)) is not None:
            mark_applied(found, key)
