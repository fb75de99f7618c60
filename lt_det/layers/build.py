"""The classifier that a loss needs."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.layers.cosine import CosineClassifier
from lt_det.layers.scaled import ScaledLinear


class _Loss(Protocol):
    """What a classifier has to know of its loss, see `lt_det.losses.ClassificationLoss`."""

    @property
    def num_logits(self) -> int: ...

    @property
    def default_classifier(self) -> str: ...

    @property
    def scales_cosines(self) -> bool: ...

    def initial_bias(self) -> Tensor | None: ...


def build_classifier(
    in_features: int, loss: _Loss, kind: str = "auto", cosine_scale: float | None = None
) -> nn.Linear | CosineClassifier:
    """A classifier with the columns and the starting bias that a loss needs, and weights of standard deviation 0.01.

    Args:
        in_features: D.
        loss: a `ClassificationLoss`, also inside `ClassReweighting` or `BackgroundFirst`.
        kind: "linear", "cosine", "scaled" (linear, a scale per class), or "auto" for the loss's own choice.
        cosine_scale: s of the cosine classifier; None: `CosineClassifier`'s default, or 1 where the loss scales the
            cosines itself.

    Raises:
        LtDetError: an unknown classifier, or a scale that has no effect or is not above 0.

    >>> from lt_det.losses import SeesawLoss
    >>> build_classifier(1024, SeesawLoss(5))
    CosineClassifier(in_features=1024, out_features=7, scale=20.0)
    """
    kind = checked_kind(loss, kind, cosine_scale)
    classifier: nn.Linear | CosineClassifier
    if kind != "cosine":
        classifier = (ScaledLinear if kind == "scaled" else nn.Linear)(in_features, loss.num_logits)
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)
    elif loss.scales_cosines:
        classifier = CosineClassifier(in_features, loss.num_logits, scale=1.0, bias=False)
    elif cosine_scale is None:
        classifier = CosineClassifier(in_features, loss.num_logits)
    else:
        classifier = CosineClassifier(in_features, loss.num_logits, scale=cosine_scale)
    set_initial_bias(classifier, loss)
    return classifier


def checked_kind(loss: _Loss, kind: str, cosine_scale: float | None) -> str:
    """`kind`, or the loss's own choice for "auto".

    Raises:
        LtDetError: see `build_classifier`.
    """
    if kind == "auto":
        kind = loss.default_classifier
    if kind not in ("linear", "cosine", "scaled"):
        raise LtDetError(f"MODEL.LONG_TAIL.CLASSIFIER is '{kind}'; write auto, linear, cosine or scaled.")
    if cosine_scale is None:
        return kind
    key = f"MODEL.LONG_TAIL.COSINE_SCALE is {cosine_scale}"
    if kind != "cosine":
        raise LtDetError(
            f"{key}, but the classifier is {kind}; set MODEL.LONG_TAIL.CLASSIFIER to cosine, or leave COSINE_SCALE out."
        )
    if loss.scales_cosines:
        raise LtDetError(
            f"{key}, but the loss scales the cosines itself; set its own scale (MODEL.LONG_TAIL.LOSS.LDAM.SCALE)."
        )
    if isinstance(cosine_scale, bool | str) or not cosine_scale > 0:
        raise LtDetError(f"{key}; write a number above 0, such as 20.")
    return kind


def set_initial_bias(classifier: nn.Linear | CosineClassifier, loss: _Loss) -> None:
    """Let the classifier's bias, if it has one, start from what the loss asks for, if it asks for any."""
    bias = loss.initial_bias()
    if bias is not None and classifier.bias is not None:
        with torch.no_grad():
            classifier.bias.copy_(bias)
