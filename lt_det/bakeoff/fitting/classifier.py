"""The training step of a linear or cosine classifier, written out.

Autograd through the classifier and an optimizer's own passes over the weights take as long as half of the matrix
products themselves at LVIS's size. Here autograd goes through the loss alone, and the gradient of the weights is added
into the momentum by its matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lt_det.bakeoff.fitting.batch import Batch
from lt_det.layers import CosineClassifier


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent as the config's SOLVER asks for, like `torch.optim.SGD` behind Detectron2's clipping.

    Attributes:
        momentum, weight_decay, nesterov: see `torch.optim.SGD`.
        bias_decay: weight decay of biases.
        bias_rate: factor of the learning rate for biases.
        clip: how gradients are clipped, parameter by parameter: by their "value", by their "norm", or not ("").
        clip_value: the largest absolute value, or the largest norm.
        norm_type: exponent of the norm.
    """

    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = False
    bias_decay: float = 1e-4
    bias_rate: float = 1.0
    clip: str = ""
    clip_value: float = 1.0
    norm_type: float = 2.0

    @classmethod
    def from_config(cls, cfg: Any) -> SGD:
        solver = cfg.SOLVER
        return cls(
            momentum=solver.MOMENTUM,
            weight_decay=solver.WEIGHT_DECAY,
            nesterov=solver.NESTEROV,
            bias_decay=solver.WEIGHT_DECAY if solver.WEIGHT_DECAY_BIAS is None else solver.WEIGHT_DECAY_BIAS,
            bias_rate=solver.BIAS_LR_FACTOR,
            clip=solver.CLIP_GRADIENTS.CLIP_TYPE if solver.CLIP_GRADIENTS.ENABLED else "",
            clip_value=solver.CLIP_GRADIENTS.CLIP_VALUE,
            norm_type=solver.CLIP_GRADIENTS.NORM_TYPE,
        )

    def clipped(self, gradient: Tensor) -> Tensor:
        """The gradient of one parameter after clipping, in place."""
        if self.clip == "value":
            return gradient.clamp_(-self.clip_value, self.clip_value)
        if self.clip:
            norm = torch.linalg.vector_norm(gradient, self.norm_type)
            return gradient.mul_((self.clip_value / (norm + 1e-6)).clamp(max=1.0))
        return gradient


class ClassifierStep:
    """Trains the weights of one classifier in place.

    Args:
        classifier: linear or cosine.
        sgd: the optimizer.
    """

    def __init__(self, classifier: nn.Linear | CosineClassifier, sgd: SGD) -> None:
        self._weight = classifier.weight.detach()
        self._bias = None if classifier.bias is None else classifier.bias.detach()
        self._scale = classifier.scale if isinstance(classifier, CosineClassifier) else None
        self._sgd = sgd
        self._momentum = torch.zeros_like(self._weight)
        self._bias_momentum = None if self._bias is None else torch.zeros_like(self._bias)
        self._logits, self._norms = self._weight, self._weight  # of the last batch, for a cosine classifier

    @property
    def momentum(self) -> dict[str, Tensor]:
        """Momentum of the weights, by the names of the classifier's parameters."""
        found = {"weight": self._momentum}
        return found if self._bias_momentum is None else found | {"bias": self._bias_momentum}

    def logits(self, batch: Batch) -> Tensor:
        """(B, C) logits of a batch, a leaf of autograd's graph."""
        if self._scale is None:
            if self._bias is None:
                return (batch.features @ self._weight.t()).requires_grad_()
            return torch.addmm(self._bias, batch.features, self._weight.t()).requires_grad_()
        self._norms = self._weight.norm(dim=1).clamp_(min=1e-12)
        logits = (batch.normalized @ self._weight.t()).mul_(self._scale / self._norms)
        self._logits = logits if self._bias is None else logits.add_(self._bias)
        return self._logits.detach().requires_grad_()

    def update(self, gradient: Tensor, batch: Batch, rate: float) -> None:
        """Take a step.

        With h the normalized features, w a weight vector and G = dL/dz, a cosine classifier z = s h.w / ||w|| + b has
        dL/dw = s / ||w|| G h - G (z - b) / ||w||^2 w, summed over the batch.

        Args:
            gradient: (B, C) G; it is overwritten.
            batch: the one that `logits` has seen last.
            rate: learning rate.
        """
        sgd, momentum, features = self._sgd, self._momentum, batch.features
        along = None  # how much of w itself is in its gradient
        if self._scale is not None:
            features = batch.normalized
            along = torch.linalg.vecdot(gradient, self._logits, dim=0).neg_()
        if self._bias is not None:
            assert self._bias_momentum is not None
            of_bias = gradient.sum(dim=0)
            if along is not None:
                along.add_(of_bias * self._bias)
            of_bias = sgd.clipped(of_bias).add_(self._bias, alpha=sgd.bias_decay)
            self._descend(self._bias, self._bias_momentum, of_bias, rate * sgd.bias_rate)
        if self._scale is not None and along is not None:
            gradient.mul_(self._scale / self._norms)
            along = along.div_(self._norms.square()).unsqueeze(1)
        if sgd.clip or sgd.nesterov:
            of_weight = gradient.t() @ features
            if along is not None:
                of_weight.addcmul_(self._weight, along)
            of_weight = sgd.clipped(of_weight).add_(self._weight, alpha=sgd.weight_decay)
            self._descend(self._weight, momentum, of_weight, rate)
            return
        momentum.addmm_(gradient.t(), features, beta=sgd.momentum)
        if along is None:
            momentum.add_(self._weight, alpha=sgd.weight_decay)
        else:
            momentum.addcmul_(self._weight, along.add_(sgd.weight_decay))
        self._weight.add_(momentum, alpha=-rate)

    def _descend(self, parameter: Tensor, momentum: Tensor, gradient: Tensor, rate: float) -> None:
        momentum.mul_(self._sgd.momentum).add_(gradient)
        if self._sgd.nesterov:
            momentum_ahead = gradient.add_(momentum, alpha=self._sgd.momentum)
            parameter.add_(momentum_ahead, alpha=-rate)
        else:
            parameter.add_(momentum, alpha=-rate)
