"""Losses for code whose background is class 0, such as torchvision's Faster R-CNN."""

from __future__ import annotations

import torch
from torch import Tensor

from lt_det.losses._rows import Reduction
from lt_det.losses._wrapper import LossWrapper
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.reweighting import ClassReweighting


def background_last(labels: Tensor, num_classes: int) -> Tensor:
    """Convert (N,) labels from background 0 and classes 1..K to classes 0..K-1 and background K.

    >>> background_last(torch.tensor([0, 1, 3]), num_classes=3).tolist()
    [3, 0, 2]
    """
    return torch.where(labels == 0, num_classes, labels - 1)


class BackgroundFirst(LossWrapper):
    """Wraps a loss for callers whose background is class 0 and whose classes are 1..K.

    The caller's first column becomes the last column of the loss, and the other columns move by one. The first column
    is background. For Seesaw (K+2 columns) it is the objectness column "background", and the caller's last column is
    the objectness column "foreground".

    Args:
        loss: a loss that was built with background.
    """

    loss: ClassificationLoss | ClassReweighting

    def __init__(self, loss: ClassificationLoss | ClassReweighting) -> None:
        super().__init__()
        self.loss = loss

    @property
    def num_logits(self) -> int:
        """Number of columns that the classifier must have."""
        return int(self.loss.num_logits)

    @property
    def default_classifier(self) -> str:
        """See `ClassificationLoss`."""
        return self.loss.default_classifier

    @property
    def scales_cosines(self) -> bool:
        """See `ClassificationLoss`."""
        return self.loss.scales_cosines

    def forward(
        self, logits: Tensor, labels: Tensor, features: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """The loss, as in `ClassificationLoss.forward`; label 0 is background and 1..K are the classes."""
        targets = background_last(labels, self.loss.num_classes)
        value: Tensor = self.loss(logits.roll(-1, dims=1), targets, features, reduction)
        return value

    def scores(self, logits: Tensor) -> Tensor:
        """(N, num_logits) logits to (N, K+1) probabilities, background first."""
        scores: Tensor = self.loss.scores(logits.roll(-1, dims=1))
        return scores.roll(1, dims=1)

    def initial_bias(self) -> Tensor | None:
        """(num_logits,) initial bias of the classifier, or None for zeros."""
        bias: Tensor | None = self.loss.initial_bias()
        return None if bias is None else bias.roll(1)
