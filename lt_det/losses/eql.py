"""Equalization loss (EQL).

Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020, https://arxiv.org/abs/2003.05176.
Checked against the authors' detector code, https://github.com/tztztztztz/eql.detectron2.
"""

from __future__ import annotations

from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.weighted_sigmoid import weighted_sigmoid_cross_entropy
from lt_det.losses.base import divide_by_rois
from lt_det.losses.class_weights import Counts
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidLoss

# Half a count above LVIS's "common" (11-100 images): every class that is not frequent is tail. Over the annotated
# images it gives the published thresholds: 100.5 / 56740 = 0.00177 for LVIS v0.5, 100.5 / 99388 = 0.00101 for v1.
TAIL_IMAGES = 100.5


def tail_classes(counts: Tensor, num_images: int, frequency_threshold: float | None, loss: str) -> Tensor:
    """F(k) = 1 if the share of the annotated images that hold class k is below lambda.

    Args:
        counts: (K,) images per class.
        num_images: with at least one annotation.
        frequency_threshold: lambda; None: `TAIL_IMAGES` / num_images.
        loss: name for error messages.

    Returns:
        (K,) bool.

    Raises:
        LtDetError: lambda outside [0, 1].
    """
    if frequency_threshold is None:
        return counts < TAIL_IMAGES
    if not (isinstance(frequency_threshold, int | float) and 0 <= frequency_threshold <= 1):
        raise LtDetError(
            f"{loss}.FREQUENCY_THRESHOLD is a share of the training images between 0 and 1, but is "
            f"{frequency_threshold}; leave it out for 'every class that is not frequent'."
        )
    return counts / num_images < frequency_threshold


@register_loss("eql")
class EQL(SigmoidLoss):
    """L = (1/N) sum_r sum_k w_rk BCE(z_rk, t_rk), w_rk = 1 - E(r) F(k) (1 - t_rk) (eq. 3, 6).

    E(r) = 1 for foreground RoIs, F(k) = 1 if f_k < lambda: tail classes are not pushed down by RoIs of other classes.
    f_k is the share of the annotated training images that hold class k. Background RoIs keep suppressing tail
    classes: without that exemption detectors fire on background.

    Args:
        num_classes: K.
        image_counts: K numbers of training images per class; None for a model that only predicts.
        num_images: training images with at least one annotation.
        frequency_threshold: lambda; the comparison is strict. None: `TAIL_IMAGES` / num_images, every class that is
            not frequent.
        prior_prob: starting probability of every class.

    Raises:
        LtDetError: counts of another length than K, lambda outside [0, 1].
    """

    statistics = ("image_counts", "num_images")
    is_tail: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        image_counts: Counts | None = None,
        num_images: int | None = None,
        frequency_threshold: float | None = None,
        prior_prob: float = 0.001,
    ) -> None:
        super().__init__(num_classes, prior_prob=prior_prob)
        counts = self.class_counts(None if num_images is None else image_counts)
        is_tail = tail_classes(counts, num_images or 1, frequency_threshold, "EQL")
        # Not in the checkpoint: it follows from config and data, and scores do not need it.
        self.register_buffer("is_tail", is_tail, persistent=False)

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        spared = (~self.is_tail).to(logits.dtype)
        total, _ = weighted_sigmoid_cross_entropy(logits, gt_classes, foreground=spared)
        return divide_by_rois(total, len(gt_classes))

    def extra_repr(self) -> str:
        return f"tail classes={int(self.is_tail.sum())} of {self.num_classes}"
