"""The base class of all classification losses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.losses._remarks import equal_counts
from lt_det.losses._rows import Reduction, can_be_read, checked, reduced
from lt_det.losses.class_weights import Counts, checked_counts, with_background
from lt_det.terminal import count_of

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats

_STATISTICS: dict[str, Callable[[ClassStats], Any]] = {
    "image_counts": lambda stats: stats.training_counts("images"),
    "instance_counts": lambda stats: stats.training_counts("instances"),
    "num_images": lambda stats: stats.num_images,
}


class ClassificationLoss(nn.Module):
    """A loss over the classes 0..K-1 and, unless `background` is False, background as class K.

    A loss defines how many columns the classifier has, its initial bias, the value to minimize, and the scores at test
    time. A subclass takes `num_classes` first, and class counts and hyper-parameters as keyword arguments. The
    default of a hyper-parameter is defined in the constructor only. A subclass defines `scores`, and either
    `row_losses` or `forward`.

    Args:
        num_classes: K.
        background: True for a detector's box head, where background is class K. False for plain classification: the
            classifier has K columns, and every target is below K.

    Attributes:
        default_classifier: "linear" or "cosine", the classifier that the loss was published with.
        statistics: the constructor arguments that come from the training set and not from a config: any of
            image_counts, instance_counts and num_images.
        uses_features: whether `forward` needs the input of the classifier.
        scales_cosines: whether the loss multiplies the output of a cosine classifier by a scale of its own.
        progress: completed fraction of the training, 0 to 1, for losses with phases; None if it is unknown. The box
            predictor sets it before each step; in any other training loop, set it yourself.

    Raises:
        LtDetError: num_classes is below 1.
    """

    default_classifier: ClassVar[str] = "linear"
    statistics: ClassVar[tuple[str, ...]] = ()
    uses_features: ClassVar[bool] = False
    scales_cosines: ClassVar[bool] = False
    progress: float | None = None
    _reason_not_to_train: str | None = None

    def __init__(self, num_classes: int, *, background: bool = True) -> None:
        super().__init__()
        if num_classes < 1:
            raise LtDetError(f"A loss needs at least one class, but num_classes is {num_classes}.")
        self.num_classes = num_classes
        self.background = background

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClassificationLoss:
        """Called by ``to``, ``half`` and the like: buffers keep their precision, because counts and sums over a
        training stop growing in half precision."""
        super()._apply(lambda buffer: _not_halved(buffer, fn(buffer)), recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def num_logits(self) -> int:
        """Number of columns that the classifier must have."""
        return self.num_classes + int(self.background)

    @property
    def family(self) -> str:
        """What the logits mean, "softmax" or "sigmoid"; losses of one family can start from each other's classifiers.

        By default the losses with an initial bias are "sigmoid", because it is their prior probability. Override it in
        a loss whose columns mean something else; see docs/starting_from_a_detector.md.
        """
        return "softmax" if self.initial_bias() is None else "sigmoid"

    @property
    def score_scale(self) -> Tensor | float:
        """The factor by which `scores` multiplies the logits, a number or (num_logits,).

        Code that shifts the bias of the classifier, such as post-hoc adjustment, divides the shift by it.
        """
        return 1.0

    def forward(
        self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            logits: (N, num_logits).
            gt_classes: (N,) int64 in 0..K-1, or K for background.
            features: (N, D), the input of the classifier; needed only if `uses_features` is True.
            reduction: "none", "sum", or "mean", which divides the sum by `divisor`.

        Returns:
            (N,) for "none", else a scalar. An empty batch has loss 0 and a gradient.

        Raises:
            LtDetError: the loss was built without its class counts, logits or targets have a wrong shape or type, or
                the reduction is unknown.
        """
        rows = self.row_losses(self.checked_logits(logits, gt_classes), gt_classes, features)
        return reduced(rows, reduction, self.divisor(gt_classes))

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        """(N,) losses of the rows, for (N, num_logits) logits in float32 or float64. Subclasses define it."""
        raise NotImplementedError

    def divisor(self, gt_classes: Tensor) -> Tensor | int:
        """The divisor of the mean: N, as in Detectron2's mean over all sampled RoIs; at least 1."""
        return max(len(gt_classes), 1)

    def scores(self, logits: Tensor) -> Tensor:
        """Convert (N, num_logits) logits to scores. Subclasses define it.

        Returns:
            (N, K+1) probabilities, background last; it is 0 if the loss does not model background. Without background
            (N, K).
        """
        raise NotImplementedError

    def predicted_classes(self, logits: Tensor) -> Tensor:
        """(N,) predicted classes, K for background, for (N, num_logits) logits; only the training log uses them."""
        return self.scores(logits).argmax(dim=1)

    def initial_bias(self) -> Tensor | None:
        """(num_logits,) initial bias of the classifier, or None for zeros."""
        return None

    def state_by_class(self) -> dict[str, Tensor]:
        """State of the loss for the training log, by name.

        Each value is a scalar, or a (K,) tensor with nan for a class without state so far.
        """
        return {}

    @classmethod
    def from_stats(cls, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
        """Build the loss from the counts of a training set.

        Args:
            stats: gives the number of classes and the arguments that `statistics` names.
            hyperparameters: keyword arguments of the constructor.

        Raises:
            LtDetError: the loss needs instance counts that `stats` lacks, or a hyper-parameter is invalid.
        """
        statistics = {name: _STATISTICS[name](stats) for name in cls.statistics}
        return cls(stats.num_classes, **statistics, **hyperparameters)

    def remark(self, stats: ClassStats) -> str:
        """What to say before a training if these class counts leave the loss nothing to balance; empty if they do not.

        Args:
            stats: that the loss was built from.
        """
        return equal_counts(type(self).__name__, stats) if "instance_counts" in self.statistics else ""

    @classmethod
    def hyperparameters(cls) -> dict[str, Any]:
        """Default of each hyper-parameter by name, read from the constructor."""
        parameters = inspect.signature(cls).parameters.values()
        others = (*cls.statistics, "background")
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in others}

    def class_counts(self, counts: Counts | None) -> Tensor:
        """(K,) counts as float64, at least 1. With None the counts are ones, and the loss refuses to train.

        Raises:
            LtDetError: there are not K counts, or a count is negative.
        """
        if counts is None:
            self.refuse_training(f"{type(self).__name__} was built without {' and '.join(self.statistics)}.")
            return torch.ones(self.num_classes, dtype=torch.float64)
        return checked_counts(counts, self.num_classes, type(self).__name__)

    def per_column(self, values: Tensor, neutral: float) -> Tensor:
        """Extend (K,) values of the classes by `neutral` for background, if the loss has background."""
        return with_background(values, neutral) if self.background else values

    def checked_logits(self, logits: Tensor, gt_classes: Tensor) -> Tensor:
        """Check logits and targets, and return the logits in float32 or float64.

        Raises:
            LtDetError: the loss was built without its class counts, the number of columns is wrong, the targets are not
                (N,) int64, or a target is not a class; the last is detected on the CPU only, and not in
                `torch.compile`.
        """
        self.require_statistics()
        logits = checked(logits, gt_classes)
        if logits.shape[1] != self.num_logits:
            raise LtDetError(
                f"{type(self).__name__} with {count_of(self.num_classes, 'class')} needs "
                f"{count_of(self.num_logits, 'column')} of logits (its num_logits), but got "
                f"{logits.shape[1]}; give the classifier that many outputs."
            )
        last = self.num_classes if self.background else self.num_classes - 1
        if can_be_read(gt_classes) and len(gt_classes) and (highest := int(gt_classes.max())) > last:
            without = "" if self.background else " and without background"
            raise LtDetError(
                f"{type(self).__name__} with {count_of(self.num_classes, 'class')}{without} needs targets from 0 to "
                f"{last}, but got {highest}; correct the labels, or the loss's num_classes and background."
            )
        return logits

    def has_reached(self, start: float) -> bool:
        """Whether the completed fraction of the training is at least `start`, where a phase begins.

        Raises:
            LtDetError: the progress is unknown. Without the error, the phase would silently never begin.
        """
        if self.progress is None:
            raise LtDetError(
                f"{type(self).__name__} has phases, but the length of the training is not known; give "
                'LongTailPredictor max_iter (LazyConfig: box_predictor.max_iter="${train.max_iter}"), or set the '
                "loss's progress, 0 to 1, before each step."
            )
        return self.progress >= start

    def refuse_training(self, reason: str) -> None:
        """Allow scores only: training raises `LtDetError` with this reason."""
        self._reason_not_to_train = reason

    def require_statistics(self) -> None:
        """Raise if the loss was built without the class counts that it needs for training.

        Raises:
            LtDetError: class counts are missing; the message gives the reason.
        """
        if self._reason_not_to_train is not None:
            raise LtDetError(
                f"{type(self).__name__} cannot train without the class counts of the training set: "
                f"{self._reason_not_to_train}"
            )


def _not_halved(before: Tensor, after: Tensor) -> Tensor:
    """`after`, or `before` on the same device if only `after` has half precision."""
    halves = (torch.float16, torch.bfloat16)
    return before.to(after.device) if after.dtype in halves and before.dtype not in halves else after
