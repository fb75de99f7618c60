"""One step of training a classifier with a meta-learned loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lt_det.bakeoff.meta.closed_form import Bilevel, InnerStep, Weights, classifier_gradient
from lt_det.bakeoff.meta.method import AnyLoss, MetaLoss, MetaMethod, TrainingRows


def meta_step(
    classifier: nn.Module,
    optimizer: torch.optim.SGD,
    loss: AnyLoss,
    method: MetaMethod,
    rois: tuple[Tensor, Tensor],
    meta_rois: tuple[Tensor, Tensor],
) -> Tensor:
    """Take a step of the method, and then one of the classifier with what the method has learned.

    With several processes each passes RoIs of its own; the gradients are summed over all of them.

    Args:
        classifier: updated in place.
        optimizer: of the classifier, with one parameter group.
        loss: the loss that trains the classifier.
        method: updated in place.
        rois: (N, D) features and (N,) targets to train on.
        meta_rois: (M, D) features and (M,) targets of the meta set.

    Returns:
        The mean loss of the RoIs before the step, without weights.

    Raises:
        LtDetError: the loss has no `MetaLoss`.
    """
    features, targets = rois
    with torch.no_grad():
        rows = TrainingRows(loss, classifier(features), targets, features)
    momentum = method.uses_momentum
    bilevel = Bilevel(
        classifier,
        InnerStep.of(optimizer, momentum=momentum),
        features,
        MetaLoss(loss),
        *meta_rois,
        buffers=_momentum_buffers(classifier, optimizer) if momentum else {},
    )
    A = method.logit_gradients(rows, bilevel)
    gradient = classifier_gradient(classifier, bilevel.weights, features, A)
    for name, parameter in classifier.named_parameters():
        parameter.grad = gradient[name]
    optimizer.step()
    return rows.losses.mean()


def _momentum_buffers(classifier: nn.Module, optimizer: torch.optim.SGD) -> Weights:
    """Momentum of the steps so far, by the names of the classifier's parameters; empty before the first step."""
    buffers = {}
    for name, parameter in classifier.named_parameters():
        buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            buffers[name] = buffer
    return buffers
