"""A toy bilevel problem, and the gradient of its meta loss by autograd through the unrolled inner step."""

import torch
from torch.func import functional_call

from lt_det.layers import build_classifier
from lt_det.losses import LOSSES
from lt_det.meta.closed_form import Bilevel, InnerStep, classifier_gradient
from lt_det.meta.method import MetaLoss, TrainingRows

K, D = 4, 6
COUNTS = {"instance_counts": [400, 60, 9, 2], "image_counts": [300, 50, 8, 2], "num_images": 500}


def toy_loss(name, **hyperparameters):
    """A registered loss with the counts that it needs, in evaluation mode: no state, no random draws of it."""
    counts = {key: COUNTS[key] for key in LOSSES[name].statistics}
    loss = LOSSES[name](K, **counts, **hyperparameters).eval()
    loss.progress = 0.1
    return loss


def toy_classifier(loss, kind="linear"):
    """A classifier in float64 with logits of all sizes."""
    classifier = build_classifier(D, loss, kind).double()
    with torch.no_grad():
        classifier.weight.normal_()
        if classifier.bias is not None:
            classifier.bias.normal_()
    return classifier


def toy_rois(number):
    """(number, D) features and targets 0..K."""
    return torch.randn(number, D, dtype=torch.float64), torch.randint(K + 1, (number,))


def unrolled_meta_loss(classifier, training_loss, meta_loss, meta_rois, step, buffers=None):
    """The mean meta loss after the step along the gradient of `training_loss`, with the graph through the step.

    Args:
        training_loss: from the logits' function of the weights to a scalar.
    """
    weights = {name: parameter.detach().requires_grad_() for name, parameter in classifier.named_parameters()}
    value = training_loss(lambda features: functional_call(classifier, weights, (features,)))
    gradient = torch.autograd.grad(value, list(weights.values()), create_graph=True)
    stepped = step.apply(weights, dict(zip(weights, gradient, strict=True)), buffers or {})
    features, targets = meta_rois
    return meta_loss(functional_call(classifier, stepped, (features,)), targets)


def meta_step(classifier, optimizer, loss, method, rois, meta_rois):
    """A step of a method and then one of the classifier, on the RoIs of all processes. Returns the mean loss before."""
    (group,) = optimizer.param_groups
    step = InnerStep(group["lr"], group["momentum"], group["weight_decay"])
    buffers = {name: optimizer.state[p].get("momentum_buffer") for name, p in classifier.named_parameters()}
    buffers = {name: buffer for name, buffer in buffers.items() if buffer is not None}
    rows = TrainingRows(loss, classifier(rois[0]).detach(), rois[1], rois[0])
    bilevel = Bilevel(classifier, step, rois[0], MetaLoss(loss), *meta_rois, buffers)
    gradient = classifier_gradient(classifier, bilevel.weights, rois[0], method.logit_gradients(rows, bilevel))
    for name, parameter in classifier.named_parameters():
        parameter.grad = gradient[name]
    optimizer.step()
    return rows.losses.mean()
