"""What every classification loss of a box head offers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.losses.class_weights import Counts, checked_counts
from lt_det.statistics.class_stats import ClassStats

_STATISTICS: dict[str, Callable[[ClassStats], Any]] = {
    "image_counts": lambda stats: stats.training_counts("images"),
    "instance_counts": lambda stats: stats.training_counts("instances"),
    "num_images": lambda stats: stats.num_images,
}


class ClassificationLoss(nn.Module):
    """Classification loss of a box head with K foreground classes; label K is background.

    A loss owns everything that is particular to it: how many columns the classifier has, how it starts, what is
    minimised, and what a score is. Subclasses take `num_classes` first, class statistics and hyper-parameters as
    keywords; hyper-parameters have their default in the constructor and nowhere else.

    Attributes:
        num_classes: K.
        default_classifier: "linear" or "cosine", the layer the loss was published with.
        statistics: constructor arguments that come from the training set and not from a config: image_counts,
            instance_counts, num_images.
        uses_features: whether `forward` wants the classifier's input.
        takes_reweighting: whether it has one value per RoI that `DeferredReweighting` can weigh.
        cosine_scale, cosine_bias: of the cosine classifier, where one feeds the loss.
        progress: share of the training that is done, 0 to 1; the predictor sets it before each step. None: not known.
        missing_statistics: why a model that was built without its training set lacks them; such a model can predict.
    """

    default_classifier: ClassVar[str] = "linear"
    statistics: ClassVar[tuple[str, ...]] = ()
    uses_features: ClassVar[bool] = False
    takes_reweighting: ClassVar[bool] = False
    cosine_scale: ClassVar[float] = 20.0
    cosine_bias: ClassVar[bool] = True
    progress: float | None = None
    missing_statistics: str | None = None

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise LtDetError(f"A box head needs at least one class, but num_classes is {num_classes}.")
        self.num_classes = num_classes

    @property
    def num_logits(self) -> int:
        """Columns the classifier must have."""
        return self.num_classes + 1

    @property
    def score_scale(self) -> Tensor | float:
        """What `scores` multiplies the logits by, a number or (num_logits,); who shifts the bias must divide by it."""
        return 1.0

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        """
        Args:
            logits: (N, num_logits).
            gt_classes: (N,) int64, 0..K-1, or K for background.
            features: (N, D), the classifier's input; only some losses use it.

        Returns:
            scalar, divided by N; zero with a gradient for N = 0.
        """
        raise NotImplementedError

    def scores(self, logits: Tensor) -> Tensor:
        """(N, num_logits) logits to (N, K+1) probabilities, background last (0 where the loss has none)."""
        raise NotImplementedError

    def predicted_classes(self, logits: Tensor) -> Tensor:
        """(N, num_logits) logits to (N,) classes, K for background; only the training log uses it."""
        return self.scores(logits).argmax(dim=1)

    def initial_bias(self) -> Tensor | None:
        """(num_logits,) bias the classifier starts from, or None for zeros."""
        return None

    def state_by_class(self) -> dict[str, Tensor]:
        """What training has taught the loss about the classes, for the log: by name a (K,) tensor, nan where nothing is
        known of a class, or a scalar."""
        return {}

    @classmethod
    def from_stats(cls, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
        """Build from a training set: its number of classes, and what `statistics` names."""
        statistics = {name: _STATISTICS[name](stats) for name in cls.statistics}
        return cls(stats.num_classes, **statistics, **hyperparameters)

    @classmethod
    def hyperparameters(cls) -> dict[str, Any]:
        """Name and default of each hyper-parameter, read from the constructor."""
        parameters = inspect.signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in cls.statistics}

    def class_counts(self, counts: Counts | None) -> Tensor:
        """(K,) counts as float64, at least 1. None gives ones, and a loss that predicts but refuses to train.

        Raises:
            LtDetError: another length than K, or a negative count.
        """
        if counts is None:
            self.missing_statistics = f"{type(self).__name__} was built without {' and '.join(self.statistics)}."
            return torch.ones(self.num_classes, dtype=torch.float64)
        return checked_counts(counts, self.num_classes, type(self).__name__)

    def checked_logits(self, logits: Tensor) -> Tensor:
        """The logits to train on, in float32 at least.

        Raises:
            LtDetError: no training statistics, or a classifier with another number of columns.
        """
        self.require_statistics()
        if logits.shape[1] != self.num_logits:
            raise LtDetError(
                f"{type(self).__name__} with {self.num_classes} classes needs {self.num_logits} columns of logits "
                f"(its num_logits), but got {logits.shape[1]}; give the classifier that many outputs."
            )
        return at_least_float32(logits)

    def has_reached(self, start: float) -> bool:
        """Whether the training has reached this share of its length, where a phase begins.

        Raises:
            LtDetError: the progress is not known; a phase that never begins would go unseen.
        """
        if self.progress is None:
            raise LtDetError(
                f"{type(self).__name__} has phases, but the length of the training is not known; give "
                'LongTailPredictor max_iter (LazyConfig: box_predictor.max_iter="${train.max_iter}"), or set the '
                "loss's progress, 0 to 1, before each step."
            )
        return self.progress >= start

    def require_statistics(self) -> None:
        """Raise if the loss was built without the training statistics it needs.

        Raises:
            LtDetError: says which are missing and why.
        """
        if self.missing_statistics is not None:
            raise LtDetError(
                f"{type(self).__name__} cannot train without the class counts of the training set: "
                f"{self.missing_statistics}"
            )


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision is raised to float32, whatever autocast does; float64 stays."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def divide_by_rois(total: Tensor, num_rois: int) -> Tensor:
    """Detectron2's normaliser: all sampled RoIs, foreground and background; an empty batch divides by one."""
    return total / max(num_rois, 1)
