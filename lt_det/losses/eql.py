"""Equalization loss (EQL).

Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020, https://arxiv.org/abs/2003.05176.
Checked against the authors' detector code, https://github.com/tztztztztz/eql.detectron2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused_sigmoid import fused_rows, is_faster
from lt_det.losses._remarks import tail_threshold
from lt_det.losses._rows import Reduction, checked, one_hot, reduced
from lt_det.losses.class_weights import Counts
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidFamily
from lt_det.numbers import is_number

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats

# Half a count above the 100 images up to which LVIS calls a class rare or common: every class that is not frequent is
# tail. Divided by the annotated images, it gives the published thresholds: 100.5 / 56740 = 0.00177 for LVIS v0.5, and
# 100.5 / 99388 = 0.00101 for v1.
TAIL_IMAGES = 100.5


def tail_classes(counts: Tensor, num_images: int, frequency_threshold: float | None, loss: str) -> Tensor:
    """T_lambda(f_j) = 1 if f_j < lambda, where f_j is the fraction of the annotated images that contain class j.

    Args:
        counts: (K,) images per class.
        num_images: number of images with at least one annotation.
        frequency_threshold: lambda; None for `TAIL_IMAGES` / num_images.
        loss: name of the config node of the loss, for error messages.

    Returns:
        (K,) bool.

    Raises:
        LtDetError: lambda is outside [0, 1].
    """
    if frequency_threshold is None:
        return counts < TAIL_IMAGES
    if not (is_number(frequency_threshold) and 0 <= frequency_threshold <= 1):
        raise LtDetError(
            f"{loss}.FREQUENCY_THRESHOLD is {frequency_threshold!r}; write a fraction of the training images, 0 to 1, "
            "or leave it out: then a class is a tail class if it is in at most 100 of the images."
        )
    return counts / num_images < frequency_threshold


def eql_loss(
    logits: Tensor,
    targets: Tensor,
    is_tail: Tensor,
    *,
    exempt_background: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """L = sum_j w_j BCE(z_j, y_j) with w_j = 1 - E(r) T_lambda(f_j) (1 - y_j) (section 3.2).

    Args:
        logits: (N, K) z.
        targets: (N,) int64 in 0..K-1, or K for background, whose y is all zeros.
        is_tail: (K,) bool, T_lambda(f).
        exempt_background: True: E(r) is 1 for foreground rows and 0 for background rows, so background rows suppress
            tail classes. False: E(r) is 1 for every row.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.

    In this example class 1 is tail: the row of class 0 does not suppress it, but the background row does.

    >>> import torch
    >>> logits = torch.zeros(2, 2, requires_grad=True)
    >>> eql_loss(logits, torch.tensor([0, 2]), torch.tensor([False, True]), reduction="sum").backward()
    >>> logits.grad.tolist()
    [[-0.5, 0.0], [0.5, 0.5]]
    """
    logits = checked(logits, targets)
    T = is_tail.to(logits.dtype)
    if is_faster(logits):  # the same numbers
        negatives = 1 - T
        background = None if exempt_background else negatives
        return reduced(fused_rows(logits, targets, foreground=negatives, background=background), reduction)
    y = one_hot(targets, logits)
    E = y.sum(dim=1, keepdim=True) if exempt_background else 1.0
    w = 1 - E * T * (1 - y)
    return reduced((w * F.binary_cross_entropy_with_logits(logits, y, reduction="none")).sum(dim=1), reduction)


@register_loss("eql")
class EQLLoss(SigmoidFamily):
    """Equalization loss; see `eql_loss`.

    Rows of other classes do not suppress a tail class; only background rows do. Without background nothing suppresses
    tail classes, and the classifier predicts them for every row: use the softmax form, `SoftmaxEQLLoss`, there.

    Args:
        num_classes, background: see `ClassificationLoss`.
        image_counts: K training images per class; None for a model that only predicts.
        num_images: number of training images with at least one annotation.
        frequency_threshold: lambda, 0 to 1; a class is tail if it is in less than this fraction of the annotated
            images. None: a class is tail if it is in at most 100 of the images.
        exempt_background: True: background rows suppress tail classes. False: nothing does, which is the paper's
            ablation.
        prior_prob: initial probability of every class, between 0 and 1.

    Raises:
        LtDetError: there are not K counts, lambda is outside [0, 1], or prior_prob is outside (0, 1).
    """

    statistics = ("image_counts", "num_images")
    is_tail: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        image_counts: Counts | None = None,
        num_images: int | None = None,
        frequency_threshold: float | None = None,
        exempt_background: bool = True,
        prior_prob: float = 0.001,
    ) -> None:
        super().__init__(num_classes, background=background, prior_prob=prior_prob)
        self.exempt_background, self.frequency_threshold = exempt_background, frequency_threshold
        counts = self.class_counts(None if num_images is None else image_counts)
        is_tail = tail_classes(counts, num_images or 1, frequency_threshold, "EQL")
        # Not saved in the checkpoint: config and data define it, and scores do not need it.
        self.register_buffer("is_tail", is_tail, persistent=False)

    def remark(self, stats: ClassStats) -> str:
        is_tail = self.is_tail[: self.num_classes]
        return tail_threshold("EQL", is_tail, self.frequency_threshold, TAIL_IMAGES, stats)

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        return eql_loss(
            self.class_logits(logits),
            gt_classes,
            self.is_tail,
            exempt_background=self.exempt_background,
            reduction="none",
        )

    def extra_repr(self) -> str:
        return f"tail classes={int(self.is_tail.sum())} of {self.num_classes}"
