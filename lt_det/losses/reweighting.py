"""Re-weighting by class for any loss, from the beginning or deferred.

Deferred re-weighting (DRW): Cao et al. 2019, section 3.3, https://arxiv.org/abs/1906.07413. Weights from the beginning
hurt the features; weights from the first learning-rate step on balance the classifier.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._rows import Reduction, reduced
from lt_det.losses._wrapper import LossWrapper
from lt_det.losses.base import ClassificationLoss
from lt_det.terminal import count_of

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats


class ClassReweighting(LossWrapper):
    """Multiplies the loss of each row by the weight of its class from `start` on: L = sum_i w_{y_i} L_i / D.

    D is the divisor of the wrapped loss. All other attributes and methods (scores, initial bias, state, checkpoint) are
    those of the wrapped loss.

    Args:
        loss: a loss whose `forward` has the argument `reduction`.
        weights: (K,) weights of at least 0; background has weight 1. See `effective_number_weights` and
            `inverse_frequency_weights`.
        start: fraction of the training after which the weights apply; 0 for the beginning. The authors use 0.8, after
            160 of 200 epochs.

    Raises:
        LtDetError: start is outside [0, 1], there are not K finite weights of at least 0, or `loss.forward` has no
            argument `reduction`.

    >>> from lt_det.losses import LDAMLoss, effective_number_weights
    >>> counts = [2000, 300, 5]
    >>> loss = ClassReweighting(
    ...     LDAMLoss(3, instance_counts=counts), effective_number_weights(counts, beta=0.9999), start=0.8
    ... )
    >>> loss.progress = 0.9  # set it before each step
    """

    loss: ClassificationLoss
    class_weight: Tensor

    def __init__(self, loss: ClassificationLoss, weights: Sequence[float] | Tensor, *, start: float = 0.0) -> None:
        super().__init__()
        if isinstance(start, bool | str) or not 0 <= start <= 1:
            raise LtDetError(f"REWEIGHTING.START is {start!r}; write a fraction of the training, 0 to 1.")
        if "reduction" not in inspect.signature(loss.forward).parameters:
            raise LtDetError(
                f"REWEIGHTING needs a loss with a value per RoI, but {type(loss).__name__}.forward has no argument "
                "'reduction'; define row_losses instead of forward, or leave REWEIGHTING.START out."
            )
        weight = torch.as_tensor(weights, dtype=torch.float64)
        if weight.shape != (loss.num_classes,):
            raise LtDetError(
                f"REWEIGHTING needs {count_of(loss.num_classes, 'weight')}, one per class, but got "
                f"{tuple(weight.shape)}."
            )
        if not (weight.isfinite() & (weight >= 0)).all():
            raise LtDetError("REWEIGHTING needs finite weights of at least 0.")
        self.start = start
        self.register_buffer("class_weight", loss.per_column(weight, 1.0), persistent=False)
        self.loss = loss  # after the buffer, because the loss may have one of this name, too
        self.register_load_state_dict_post_hook(_report_keys_of_checkpoint)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("loss"), name)

    def forward(
        self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """The loss, see `ClassificationLoss.forward`.

        Raises:
            LtDetError: see `ClassificationLoss.forward`; also if `start` is above 0 and the progress is unknown.
        """
        if self.start > 0 and not self.loss.has_reached(self.start):
            value: Tensor = self.loss(logits, gt_classes, features, reduction)
            return value
        rows = self.loss(logits, gt_classes, features, "none")
        rows = rows * self.class_weight.to(rows.dtype)[gt_classes]
        return reduced(rows, reduction, self.loss.divisor(gt_classes))

    def remark(self, stats: ClassStats) -> str:
        """See `ClassificationLoss.remark`; also weights that are all the same."""
        weights = self.class_weight[: self.loss.num_classes]
        same = f"REWEIGHTING gives every class the same weight, {weights[0]:.3g}, so it favors none."
        return f"{self.loss.remark(stats)} {same if (weights == weights[0]).all() else ''}".strip()

    # Checkpoints have the keys of the wrapped loss, so re-weighting can be added to a trained model or removed.

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.loss.state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[f"{prefix}loss.{key.removeprefix(prefix)}"] = state_dict.pop(key)
        self._prefix = prefix
        super()._load_from_state_dict(state_dict, prefix, *args)


def _report_keys_of_checkpoint(module: ClassReweighting, incompatible: Any) -> None:
    """Report missing and unexpected keys as they are in a checkpoint, without the inner ``loss.``."""
    inside = f"{module._prefix}loss."
    for keys in (incompatible.missing_keys, incompatible.unexpected_keys):
        keys[:] = [module._prefix + key.removeprefix(inside) if key.startswith(inside) else key for key in keys]
