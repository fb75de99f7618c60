"""Post-hoc adjustment of a trained classifier for the long tail, without training.

Each method changes the weights or biases of the K foreground columns only, so that the result is an ordinary
classifier. With tau or gamma 0 it is the trained one, bit for bit. The background column stays as it was trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.layers import CosineClassifier, ScaledLinear
from lt_det.losses import ClassificationLoss, ClassReweighting
from lt_det.losses.logit_adjustment import log_prior
from lt_det.statistics.class_stats import CountBy

# Each method, and the counts of the training set it needs.
METHODS: dict[str, CountBy | None] = {"tau_norm": None, "norcal": "images", "logit_adjustment": "instances"}


def tau_normalized(weight: Tensor, tau: float) -> Tensor:
    """w_k (m / ||w_k||)^tau, where m is the mean norm of the K rows.

    Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, section 4,
    https://arxiv.org/abs/1910.09217, have no m: a factor common to all classes does not change a classification. It
    does change a detection, because background is not normalized; m keeps the classes on the scale of background.

    Args:
        weight: (K, D), weights of the foreground classes; a row of zeros stays zero.
        tau: 1 gives all rows the same norm.
    """
    norms = weight.norm(dim=1, keepdim=True)
    norms = torch.where(norms > 0, norms, norms.mean())
    return weight * (norms.mean() / norms) ** tau


def norcal_shift(image_counts: Tensor, gamma: float) -> Tensor:
    """gamma log N_k; subtracted from the logits it gives p_k ~ exp(z_k) / N_k^gamma and p_background ~ exp(z_K).

    Pan et al., "On Model Calibration for Long-Tailed Object Detection and Instance Segmentation", NeurIPS 2021,
    https://arxiv.org/abs/2107.02170. Checked against https://github.com/tydpan/NorCal.

    Args:
        image_counts: (K,) training images of each class, at least 1.
        gamma: 0 changes nothing.
    """
    return gamma * image_counts.log()


def logit_adjustment_shift(instance_counts: Tensor, tau: float) -> Tensor:
    """tau log(K n_k / sum n), to be subtracted from the logits (Menon et al. 2021, eq. 9).

    Args:
        instance_counts: (K,) training instances of each class, at least 1.
        tau: 0 changes nothing.
    """
    return tau * log_prior(instance_counts)


def adjusted(
    classifier: nn.Module,
    loss: ClassificationLoss | ClassReweighting,
    method: str,
    value: float,
    counts: Tensor | None = None,
) -> dict[str, Tensor]:
    """The state dict of a trained classifier after post-hoc adjustment.

    Args:
        classifier: the classifier, with `loss.num_logits` columns of which the first K are foreground.
        loss: the loss it was trained with.
        method: a key of `METHODS`.
        value: tau or gamma.
        counts: (K,), the counts the method needs, at least 1.

    Raises:
        LtDetError: the method is not defined for this classifier.
    """
    state = {name: tensor.detach().clone() for name, tensor in classifier.state_dict().items()}
    foreground = slice(loss.num_classes)
    if method == "tau_norm":
        if isinstance(classifier, CosineClassifier):
            raise LtDetError(
                f"tau_norm is not defined for the cosine classifier of {type(loss).__name__}, which normalizes its "
                "weights already; choose norcal or logit_adjustment."
            )
        if isinstance(classifier, ScaledLinear):
            raise LtDetError(
                "tau_norm chooses a length for each class's weights, which lws has learned already as scales; adjust "
                "the model that lws started from, or choose norcal or logit_adjustment."
            )
        state["weight"][foreground] = tau_normalized(state["weight"][foreground].double(), value)
        return state
    if "bias" not in state:
        raise LtDetError(
            f"{method} shifts the bias of the classifier, but that of {type(loss).__name__} has none; train with "
            "MODEL.LONG_TAIL.CLASSIFIER linear, which has one."
        )
    assert counts is not None
    counts = counts.to(state["bias"].device, torch.float64)
    shift = norcal_shift(counts, value) if method == "norcal" else logit_adjustment_shift(counts, value)
    scale = torch.as_tensor(loss.score_scale, dtype=torch.float64, device=shift.device).expand(loss.num_logits)
    state["bias"][foreground] -= (shift / scale[foreground]).to(state["bias"].dtype)
    return state
