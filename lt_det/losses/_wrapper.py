"""The base of modules around a loss."""

from __future__ import annotations

from typing import Any

from torch import nn


class LossWrapper(nn.Module):
    """A module around `loss`, whose `progress` is that of the loss, because a loss may have phases."""

    loss: Any

    @property
    def progress(self) -> float | None:
        """See `ClassificationLoss`."""
        progress: float | None = self.loss.progress
        return progress

    @progress.setter
    def progress(self, progress: float | None) -> None:
        self.loss.progress = progress
