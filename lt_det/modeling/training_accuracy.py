"""Classification accuracy of a box head during training."""

from __future__ import annotations

import torch
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn


class TrainingAccuracy(nn.Module):
    """Counts RoIs and correct classifications by class, and logs the stock head's three accuracy curves.

    The stock head's own code would take the unused column of a sigmoid loss for background, and it waits for the GPU
    six times a step. This waits once, and never for the counts by class until they are taken.

    Attributes:
        counts: (2, K+1) int64 since the last `take`, background last: RoIs of each class, and how many of them were
            classified correctly; on the device of the RoIs. It is not a buffer: checkpoints do not need it, and
            DistributedDataParallel would overwrite it with the first process's counts before each step.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.counts = torch.zeros(2, num_classes + 1, dtype=torch.int64)

    def update(self, predicted: Tensor, gt_classes: Tensor) -> None:
        """Add one batch.

        Args:
            predicted, gt_classes: (N,) int64, K for background.
        """
        self.counts = self.counts.to(
            gt_classes.device
        )  # even without RoIs: the hook sums it over processes on that device
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
        """Return the counts and start again from zero."""
        counts = self.counts.clone()
        self.counts.zero_()
        return counts
