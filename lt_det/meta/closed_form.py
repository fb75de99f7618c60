"""The gradient of a meta loss through one step of a classifier, in closed form.

Meta-learning solves a bilevel problem: a step on training RoIs moves the classifier W to Ŵ, and the meta loss at Ŵ, on
RoIs of a meta set, has to become small. Only the last layer moves, so its input h is constant, and with

    A    (N, C)  gradient of the training loss by the logits; row i is (v_i / N) d_i for weights v and d_i = ∂ℓ_i/∂z_i
    Ŵ    = W − η Aᵀ H, the step
    G    = (1/M) Σ_j d'_j h'_jᵀ, gradient of the meta loss by the weights, at Ŵ

the gradient of the meta loss by A is **P = −η H Gᵀ**: one matrix product. Everything else follows by the chain rule,
for the training loss enters through A alone. Neither second derivatives of the network nor a copy of it are needed, and
the loss may be any whose row i depends on logits of row i only, also one without second derivatives.

Sources of what is learned with it are named in the modules beside this one. The unrolled form, with second derivatives
by autograd: https://github.com/xjtushujun/Meta-weight-net_class-imbalance (a copy of the network),
https://github.com/cunjunyu/BalancedMetaSoftmax-InstanceSeg (the package "higher").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp

from lt_det.losses._all_reduce import sum_over_processes

Weights = dict[str, Tensor]  # of a classifier, by the names of its parameters


@dataclass(frozen=True)
class InnerStep:
    """One step of SGD, as `torch.optim.SGD` takes it: b = μ b + (g + λ W), then Ŵ = W − η b, or W − η (g + λ W + μ b).

    Attributes:
        learning_rate: η.
        momentum: μ.
        weight_decay: λ.
        nesterov: True for the second form.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    @property
    def slope(self) -> float:
        """∂Ŵ/∂g: −η, or −η (1 + μ) with Nesterov's momentum. Momentum and weight decay only move Ŵ."""
        return -self.learning_rate * (1 + self.momentum if self.nesterov else 1)

    def apply(self, weights: Weights, gradient: Weights, buffers: Weights) -> Weights:
        """Ŵ.

        Args:
            weights: W.
            gradient: g.
            buffers: b of the steps so far; without entry it is 0.
        """
        stepped = {}
        for name, weight in weights.items():
            g = gradient[name] + self.weight_decay * weight
            b = g + self.momentum * buffers[name] if name in buffers else g
            stepped[name] = weight - self.learning_rate * (g + self.momentum * b if self.nesterov else b)
        return stepped


def row_losses_and_gradients(
    loss: Callable[..., Tensor], logits: Tensor, targets: Tensor, features: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(N,) losses ℓ_i and (N, C) d_i = ∂ℓ_i/∂z_i of a loss whose rows are independent.

    Args:
        loss: a `ClassificationLoss`, called with reduction "none", and once, so that its state counts a batch once.
        logits: (N, C) z.
        targets: (N,).
        features: (N, D), for losses that use them.
    """
    with torch.enable_grad():
        z = logits.detach().requires_grad_()
        losses = loss(z, targets, features, "none")
        (d,) = torch.autograd.grad(losses.sum(), z)
    return losses.detach(), d


def classifier_gradient(classifier: nn.Module, weights: Weights, features: Tensor, logit_gradients: Tensor) -> Weights:
    """Gradient by the classifier's weights, Σ_i a_i h_iᵀ for a linear one, summed over the rows of all processes.

    Args:
        classifier: any layer from features to logits.
        weights: its parameters.
        features: (N, D).
        logit_gradients: (N, C), rows a_i.
    """
    if type(classifier) is nn.Linear:
        gradient = {"weight": logit_gradients.T @ features, "bias": logit_gradients.sum(dim=0)}
    else:
        pull_back = vjp(lambda w: functional_call(classifier, w, (features,)), weights)[1]
        (gradient,) = pull_back(logit_gradients)
    return {name: sum_over_processes(gradient[name].contiguous()) for name in weights}


def logit_derivative(classifier: nn.Module, weights: Weights, features: Tensor, direction: Weights) -> Tensor:
    """(N, C) derivative of the logits when the weights move along `direction` G: H Gᵀ for a linear classifier."""
    if type(classifier) is nn.Linear:
        return F.linear(features, direction["weight"], direction.get("bias"))
    derivative: Tensor = jvp(lambda w: functional_call(classifier, w, (features,)), (weights,), (direction,))[1]
    return derivative


@dataclass(frozen=True, eq=False)
class Bilevel:
    """The bilevel problem of one training step.

    With several processes each holds RoIs of its own, and the same weights. The gradients by the weights are summed
    over the processes before they meet the rows of each; divisors count the rows of all processes.

    Attributes:
        classifier: with the weights W.
        step: the step from W to Ŵ.
        features: (N, D) training RoIs.
        meta_loss: from (M, C) logits, (M,) targets, None and "none" to (M,) losses.
        meta_features: (M, D) RoIs of the meta set.
        meta_targets: (M,).
        buffers: momentum of the steps so far.
    """

    classifier: nn.Module
    step: InnerStep
    features: Tensor
    meta_loss: Callable[..., Tensor]
    meta_features: Tensor
    meta_targets: Tensor
    buffers: Weights = field(default_factory=dict)

    @property
    def weights(self) -> Weights:
        """W, without graph."""
        return {name: parameter.detach() for name, parameter in self.classifier.named_parameters()}

    @torch.no_grad()
    def gradient(self, logit_gradients: Tensor) -> Tensor:
        """(N, C) P, the gradient of the mean meta loss by A, for the step along A.

        Args:
            logit_gradients: (N, C) A, with weights and divisor.
        """
        gradient = classifier_gradient(self.classifier, self.weights, self.features, logit_gradients)
        return self.gradient_at(self.step.apply(self.weights, gradient, self.buffers))

    @torch.no_grad()
    def gradient_at(self, stepped: Weights) -> Tensor:
        """(N, C) P, for a step to Ŵ = `stepped`."""
        logits = functional_call(self.classifier, stepped, (self.meta_features,))
        _, d = row_losses_and_gradients(self.meta_loss, logits, self.meta_targets)
        meta = classifier_gradient(self.classifier, stepped, self.meta_features, d / rows_of_all_processes(d))
        return self.step.slope * logit_derivative(self.classifier, self.weights, self.features, meta)


def rows_of_all_processes(rows: Tensor) -> float:
    """The number of rows in all processes together, at least 1."""
    count = sum_over_processes(torch.tensor(float(len(rows)), dtype=torch.float64, device=rows.device))
    return max(float(count), 1.0)


def row_weight_gradient(P: Tensor, d: Tensor, divisor: float) -> Tensor:
    """(N,) ∂M/∂v_i = P_i · d_i / N, for A_i = v_i d_i / N.

    Args:
        P: (N, C), see `Bilevel.gradient`.
        d: (N, C) gradients of the losses of the rows, without weights.
        divisor: N, rows of all processes.
    """
    return (P * d).sum(dim=1) / divisor


def class_weight_gradient(by_row: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """(K+1,) ∂M/∂ω_c = Σ_{i: y_i = c} ∂M/∂v_i for weights v_i = ω_{y_i}, of the rows of all processes.

    Args:
        by_row: (N,) ∂M/∂v_i.
        targets: (N,), K for background.
        num_classes: K.
    """
    return sum_over_processes(by_row.new_zeros(num_classes + 1).index_add_(0, targets, by_row))


def hyperparameter_gradient(P: Tensor, logit_gradients: Tensor, hyperparameter: Tensor) -> Tensor:
    """∂M/∂φ = Σ_i (∂A_i/∂φ)ᵀ P_i, of the rows of all processes.

    Args:
        P: (N, C), see `Bilevel.gradient`.
        logit_gradients: (N, C) A(φ), computed from φ by an explicit formula, so that one derivative is enough.
        hyperparameter: φ.
    """
    (gradient,) = torch.autograd.grad(logit_gradients, hyperparameter, grad_outputs=P)
    return sum_over_processes(gradient)
