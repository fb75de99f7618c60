"""One step of a meta-learning method, for a classifier that something else trains."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from lt_det.meta.closed_form import Bilevel, InnerStep, Weights
from lt_det.meta.method import AnyLoss, MetaLoss, TrainingRows
from lt_det.meta.methods import build_meta_method


class MetaLearner(nn.Module):
    """A method, the loss whose weights or hyper-parameters it learns, and the loss on the meta set.

    Args:
        method: a key of `META_METHODS`.
        loss: that trains the classifier.

    Raises:
        LtDetError: see `build_meta_method`.
    """

    def __init__(self, method: str, loss: AnyLoss) -> None:
        super().__init__()
        self.method = build_meta_method(method, loss)
        self._loss = (loss,)  # in a tuple, because it is a module of the classifier's owner
        self._meta_loss = MetaLoss(loss)

    @torch.no_grad()
    def step(
        self,
        classifier: nn.Module,
        rois: tuple[Tensor, Tensor],
        meta_rois: tuple[Tensor, Tensor],
        inner: InnerStep,
        buffers: Weights,
        logits: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Take a step of the method.

        Args:
            classifier: before its own step.
            rois: (N, D) features and (N,) targets to train on.
            meta_rois: (M, D) features and (M,) targets of the meta set.
            inner: the step that the classifier's optimizer would take.
            buffers: the optimizer's momentum so far, by the names of the classifier's parameters.
            logits: (N, C) of `rois`, without graph.

        Returns:
            The loss of this process's rows without the learned weights, divided by the rows of all processes; and
            (N, C) A, the gradient of the learned loss by the logits, of which the sum over all processes trains.
        """
        features, targets = rois
        rows = TrainingRows(self._loss[0], logits, targets, features)
        if not self.method.uses_momentum:
            inner, buffers = replace(inner, momentum=0.0, weight_decay=0.0, nesterov=False), {}
        bilevel = Bilevel(classifier, inner, features, self._meta_loss, *meta_rois, buffers)
        A = self.method.logit_gradients(rows, bilevel)
        return rows.losses.sum() / rows.divisor, A

    def learned(self) -> dict[str, Tensor]:
        """See `MetaMethod.learned`."""
        return self.method.learned()

    def summary(self) -> list[str]:
        """What was learned, a line for each value or group of values."""
        lines = []
        for name, value in self.learned().items():
            low, high = float(value.min()), float(value.max())
            by_class = f" to {high:.3g}, by class" if value.numel() > 1 else ""
            lines.append(f"Meta-learned {name}: {low:.3g}{by_class}")
        return lines
