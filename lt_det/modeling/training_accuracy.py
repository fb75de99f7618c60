"""How often a box head classifies right while it is trained."""

from __future__ import annotations

import torch
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn


class TrainingAccuracy(nn.Module):
    """Counts RoIs and right answers by class, and logs the stock head's three curves of each step.

    Those of the stock head would take a sigmoid loss's dead column for background, and wait for the GPU six times a
    step; here it is once, and the counts are not looked at before they are taken.

    Attributes:
        counts: (2, K+1) int64 since they were last taken, background last: RoIs of each class, and those of them that
            were classified right; on the device of the RoIs. No buffer: checkpoints have no use for it, and
            DistributedDataParallel would overwrite the other processes' with the first one's before each step.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.counts = torch.zeros(2, num_classes + 1, dtype=torch.int64)

    def update(self, predicted: Tensor, gt_classes: Tensor) -> None:
        """
        Args:
            predicted, gt_classes: (N,) int64, K for background.
        """
        self.counts = self.counts.to(gt_classes.device)  # before all else: it is summed over processes on a device
        if gt_classes.numel() == 0:
            return
        correct, foreground = predicted == gt_classes, gt_classes < self.num_classes
        self.counts.index_add_(1, gt_classes, torch.stack([torch.ones_like(correct), correct]).long())
        missed = foreground & (predicted == self.num_classes)
        num_correct, num_foreground, num_found, num_missed = (
            torch.stack([correct, foreground, correct & foreground, missed]).sum(dim=1).tolist()
        )
        storage = get_event_storage()
        storage.put_scalar("fast_rcnn/cls_accuracy", num_correct / gt_classes.numel())
        if num_foreground:
            storage.put_scalar("fast_rcnn/fg_cls_accuracy", num_found / num_foreground)
            storage.put_scalar("fast_rcnn/false_negative", num_missed / num_foreground)

    def take(self) -> Tensor:
        """The counts, which begin anew."""
        counts = self.counts.clone()
        self.counts.zero_()
        return counts
