"""What every classification loss offers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.losses._rows import Reduction, checked, reduced
from lt_det.losses.class_weights import Counts, checked_counts, with_background

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats

_STATISTICS: dict[str, Callable[[ClassStats], Any]] = {
    "image_counts": lambda stats: stats.training_counts("images"),
    "instance_counts": lambda stats: stats.training_counts("instances"),
    "num_images": lambda stats: stats.num_images,
}


class ClassificationLoss(nn.Module):
    """A loss over K classes, of which class K is background unless `background` is False.

    A loss defines how many columns the classifier has, how its bias starts, what is minimised, and what a score is.
    Subclasses take `num_classes` first, and class counts and hyper-parameters as keywords. A hyper-parameter has its
    default in the constructor and nowhere else. A subclass defines `scores`, and either `row_losses` or the whole
    `forward`.

    Args:
        num_classes: K.
        background: True for a detector's box head, where background is class K. False for plain classification: the
            classifier has K columns and every target is below K.

    Attributes:
        default_classifier: "linear" or "cosine", the layer the loss was published with.
        statistics: constructor arguments that come from the training set and not from a config: image_counts,
            instance_counts, num_images.
        uses_features: whether `forward` needs the classifier's input.
        scales_cosines: whether the loss multiplies a cosine classifier's output by a scale of its own.
        progress: fraction of the training that is done, from 0 to 1, for losses with phases. The box predictor sets it
            before each step; other training loops set it themselves. None: unknown.
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

    @property
    def num_logits(self) -> int:
        """Number of columns the classifier must have."""
        return self.num_classes + int(self.background)

    @property
    def score_scale(self) -> Tensor | float:
        """The factor by which `scores` multiplies the logits, a number or (num_logits,). Divide bias shifts by it."""
        return 1.0

    def forward(
        self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """
        Args:
            logits: (N, num_logits).
            gt_classes: (N,) int64, 0..K-1, or K for background.
            features: (N, D), the classifier's input; used only if `uses_features`.
            reduction: "none", "sum", or "mean", which divides the sum by `divisor`.

        Returns:
            (N,) for "none", else a scalar. An empty batch has loss 0 and a gradient.

        Raises:
            LtDetError: missing training statistics, a wrong number of columns, or an unknown reduction.
        """
        rows = self.row_losses(self.checked_logits(logits, gt_classes), gt_classes, features)
        return reduced(rows, reduction, self.divisor(gt_classes))

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        """(N, num_logits) logits, float32 or float64, to the (N,) losses of the rows."""
        raise NotImplementedError

    def divisor(self, gt_classes: Tensor) -> Tensor | int:
        """What the mean divides by: N, Detectron2's mean over all sampled RoIs, at least 1."""
        return max(len(gt_classes), 1)

    def scores(self, logits: Tensor) -> Tensor:
        """(N, num_logits) logits to (N, K+1) probabilities, background last (0 for a loss that has none); (N, K)
        without background."""
        raise NotImplementedError

    def predicted_classes(self, logits: Tensor) -> Tensor:
        """(N, num_logits) logits to (N,) classes, K for background; only the training log uses it."""
        return self.scores(logits).argmax(dim=1)

    def initial_bias(self) -> Tensor | None:
        """(num_logits,) bias the classifier starts from, or None for zeros."""
        return None

    def state_by_class(self) -> dict[str, Tensor]:
        """State of the loss for the training log, by name: a (K,) tensor, nan for a class not seen yet, or a scalar."""
        return {}

    @classmethod
    def from_stats(cls, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
        """Build the loss from a training set: its number of classes, and what `statistics` names."""
        statistics = {name: _STATISTICS[name](stats) for name in cls.statistics}
        return cls(stats.num_classes, **statistics, **hyperparameters)

    @classmethod
    def hyperparameters(cls) -> dict[str, Any]:
        """Name and default of each hyper-parameter, read from the constructor."""
        parameters = inspect.signature(cls).parameters.values()
        others = (*cls.statistics, "background")
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in others}

    def class_counts(self, counts: Counts | None) -> Tensor:
        """(K,) counts as float64, at least 1. None gives ones, and a loss that predicts but refuses to train.

        Raises:
            LtDetError: a number of counts other than K, or a negative count.
        """
        if counts is None:
            self.refuse_training(f"{type(self).__name__} was built without {' and '.join(self.statistics)}.")
            return torch.ones(self.num_classes, dtype=torch.float64)
        return checked_counts(counts, self.num_classes, type(self).__name__)

    def per_column(self, values: Tensor, neutral: float) -> Tensor:
        """(K,) values of the classes to one value per column, `neutral` for background."""
        return with_background(values, neutral) if self.background else values

    def checked_logits(self, logits: Tensor, gt_classes: Tensor) -> Tensor:
        """The logits to train on, in float32 at least.

        Raises:
            LtDetError: missing training statistics, a wrong number of columns, or targets that are not (N,) int64 or,
                on the CPU, not a class.
        """
        self.require_statistics()
        if logits.shape[1] != self.num_logits:
            raise LtDetError(
                f"{type(self).__name__} with {self.num_classes} classes needs {self.num_logits} columns of logits "
                f"(its num_logits), but got {logits.shape[1]}; give the classifier that many outputs."
            )
        logits = checked(logits, gt_classes)
        last = self.num_classes if self.background else self.num_classes - 1
        if gt_classes.device.type == "cpu" and len(gt_classes) and (highest := int(gt_classes.max())) > last:
            without = "" if self.background else " and without background"
            raise LtDetError(
                f"{type(self).__name__} with {self.num_classes} classes{without} needs targets from 0 to {last}, but "
                f"got {highest}; correct the labels, or the loss's num_classes and background."
            )
        return logits

    def has_reached(self, start: float) -> bool:
        """Whether the training has reached this fraction of its length, where a phase begins.

        Raises:
            LtDetError: the progress is unknown; without the error a phase would silently never begin.
        """
        if self.progress is None:
            raise LtDetError(
                f"{type(self).__name__} has phases, but the length of the training is not known; give "
                'LongTailPredictor max_iter (LazyConfig: box_predictor.max_iter="${train.max_iter}"), or set the '
                "loss's progress, 0 to 1, before each step."
            )
        return self.progress >= start

    def refuse_training(self, reason: str) -> None:
        """Let the loss give scores only; training raises `reason`."""
        self._reason_not_to_train = reason

    def require_statistics(self) -> None:
        """Raise if the loss was built without the class counts it needs for training.

        Raises:
            LtDetError: names the missing counts and the reason.
        """
        if self._reason_not_to_train is not None:
            raise LtDetError(
                f"{type(self).__name__} cannot train without the class counts of the training set: "
                f"{self._reason_not_to_train}"
            )
