"""The last layer of a trained detector and its loss: logits, and gradients of the loss."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.layers import CosineClassifier, ScaledLinear
from lt_det.losses import ClassificationLoss, ClassReweighting

_SMALLEST_SCORE = 1e-300  # its logarithm is finite


@dataclass(frozen=True, eq=False)
class Batch:
    """RoIs of a few images, with what the last layer makes of them.

    Attributes:
        features: (N, D) h.
        labels: (N,) y, K for background.
        images: (N,) ascending.
        weights: (N,) how many RoIs a row stands for.
        logits: (N, C) z; the first K columns are the classes.
        layer: the last layer that computed them.
    """

    features: Tensor
    labels: Tensor
    images: Tensor
    weights: Tensor
    logits: Tensor
    layer: LastLayer

    @cached_property
    def gradient(self) -> Tensor:
        """(N, C) dL_i / dz_i."""
        return self.layer.loss_gradient(self.features, self.labels, self.logits)

    @cached_property
    def foreground(self) -> Tensor:
        """(F,) indices of the foreground rows."""
        return (self.labels < self.layer.num_classes).nonzero().squeeze(1)

    @cached_property
    def foreground_scores(self) -> Tensor:
        """(F, K+1) float64 scores of the foreground rows, background last."""
        scores: Tensor = self.layer.loss.scores(self.logits[self.foreground].double())
        return scores

    @cached_property
    def margins(self) -> Tensor:
        """(F,) float64 log s_y - max_{j != y} log s_j of the foreground rows; for a softmax, of the logits."""
        log_scores = self.foreground_scores.clamp(min=_SMALLEST_SCORE).log()
        y = self.labels[self.foreground].unsqueeze(1)
        others = log_scores.scatter(1, y, -torch.inf).amax(dim=1)
        return log_scores.gather(1, y).squeeze(1) - others


class LastLayer:
    """A classifier and the loss that it was trained with, as they are at the end of the training.

    Neither is changed: a loss with state, such as EQLv2 or Seesaw, keeps what it has accumulated.

    Args:
        classifier: of a box predictor, with D inputs and C outputs.
        loss: the loss of the same predictor.
        device: where to compute.

    Raises:
        LtDetError: the classifier is neither linear, cosine nor scaled.
    """

    def __init__(
        self,
        classifier: nn.Module,
        loss: ClassificationLoss | ClassReweighting,
        device: torch.device | str = "cpu",
    ) -> None:
        if not isinstance(classifier, nn.Linear | CosineClassifier):
            raise LtDetError(
                f"The classifier is a {type(classifier).__name__}, but a diagnosis needs a linear, cosine or scaled "
                "one; choose one with MODEL.LONG_TAIL.CLASSIFIER."
            )
        self.device = torch.device(device)
        self.classifier = copy.deepcopy(classifier).to(device).requires_grad_(False).eval()
        self.loss = copy.deepcopy(loss).to(device).eval()
        self.loss.progress = 1.0
        self.num_classes = int(loss.num_classes)
        self.dtype = classifier.weight.dtype

    def batch(
        self,
        features: NDArray[Any],
        labels: NDArray[Any],
        images: NDArray[Any],
        weights: NDArray[Any] | None = None,
    ) -> Batch:
        """Compute the logits of rows of a table; `weights` None: every row counts once."""
        h = torch.as_tensor(features).to(self.device, self.dtype)
        y = torch.as_tensor(labels).to(self.device)
        w = torch.ones_like(y) if weights is None else torch.as_tensor(weights).to(self.device)
        return Batch(h, y, torch.as_tensor(images).to(self.device), w.to(self.dtype), self.classifier(h), self)

    def loss_gradient(self, features: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """(N, C) dL_i / dz_i of the sum of the losses of the rows, whatever the loss is."""
        with torch.enable_grad():
            z = logits.detach().requires_grad_()
            if "reduction" in inspect.signature(self.loss.forward).parameters:
                total = self.loss(z, labels, features, "sum")
            else:  # a user's own loss
                total = self.loss(z, labels, features) * self.loss.divisor(labels)
            return torch.autograd.grad(total, z)[0]

    def divisor(self, labels: Tensor, weights: Tensor) -> float:
        """By what the loss divides the sum over the rows: their number or that of foreground, counted with weights."""
        divisor, is_foreground = float(self.loss.divisor(labels)), labels < self.num_classes
        if divisor == len(labels):
            return float(weights.sum())
        return float(weights[is_foreground].sum()) if divisor == int(is_foreground.sum()) else divisor

    def inputs(self, features: Tensor) -> Tensor:
        """(N, D) what w_c is multiplied with: h, or h / ||h|| for a cosine classifier."""
        return F.normalize(features, dim=1) if isinstance(self.classifier, CosineClassifier) else features

    def logits_without_bias(self, logits: Tensor) -> Tensor:
        bias = self.classifier.bias
        return logits if bias is None else logits - bias

    def weight_gradient_norms(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """(N, C) or (N, 1): || dz_ic / dw_c || of each row."""
        if isinstance(self.classifier, CosineClassifier):
            cosines = self.logits_without_bias(logits) / self.classifier.scale
            sines = (inputs.norm(dim=1, keepdim=True) ** 2 - cosines**2).clamp(min=0).sqrt()
            return self.classifier.scale * sines / self.classifier.weight.norm(dim=1)
        norms = inputs.norm(dim=1, keepdim=True)
        return norms * self.classifier.scale.abs() if isinstance(self.classifier, ScaledLinear) else norms

    def weight_gradients(self, factors: Tensor, inputs: Tensor, logits: Tensor) -> Tensor:
        """(C, D) sum_i factors_ic dz_ic / dw_c.

        Args:
            factors: (N, C).
            inputs: (N, D), see `inputs`.
            logits: (N, C).
        """
        total = factors.T @ inputs
        if isinstance(self.classifier, CosineClassifier):
            cosines = self.logits_without_bias(logits) / self.classifier.scale
            directions = F.normalize(self.classifier.weight, dim=1)
            total = total - (factors * cosines).sum(dim=0).unsqueeze(1) * directions
            return total * (self.classifier.scale / self.classifier.weight.norm(dim=1)).unsqueeze(1)
        return total * self.classifier.scale.unsqueeze(1) if isinstance(self.classifier, ScaledLinear) else total

    def weight_norms(self) -> Tensor:
        """(K,) || w_c || of the classes, with the scale of a `ScaledLinear`."""
        norms = self.classifier.weight.norm(dim=1)
        if isinstance(self.classifier, ScaledLinear):
            norms = norms * self.classifier.scale.abs()
        return norms[: self.num_classes]


def bincount(labels: Tensor, values: Tensor, num_classes: int) -> Tensor:
    """(K,) float64 sums of (N,) values by class; labels from K on are left out."""
    sums = values.new_zeros(num_classes + 1, dtype=torch.float64)
    return sums.index_add_(0, labels.clamp(max=num_classes), values.double())[:num_classes]


def numbers(values: Tensor | Sequence[float] | NDArray[Any]) -> list[float | None]:
    """Values as plain numbers; nan becomes None."""
    return [None if value != value else float(value) for value in torch.as_tensor(values).tolist()]
