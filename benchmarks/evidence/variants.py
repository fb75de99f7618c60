"""`tools/train_net.py` with losses that only docs/evidence.md needs: for rows of a plan with ``variant: True``.

Run in the root of the repository::

    python -m benchmarks.evidence.variants --config configs/mini_lvis_cdt.yaml MODEL.LONG_TAIL.LOSS.NAME cdt_variant
"""

from __future__ import annotations

import sys

import torch.nn.functional as F
from torch import Tensor

from lt_det.losses import register_loss
from lt_det.losses.cdt import CDTLoss
from lt_det.losses.class_weights import Counts
from lt_det.losses.softmax import SoftmaxFamily


@register_loss("softmax_focal")
class SoftmaxFocalLoss(SoftmaxFamily):
    """-(1 - p_y)^gamma log p_y with a softmax p: the row "Focal" of the LDAM paper (Cao et al. 2019).

    Args:
        num_classes, background: see `ClassificationLoss`.
        gamma: 1 in the authors' code.
    """

    def __init__(self, num_classes: int, *, background: bool = True, gamma: float = 1.0) -> None:
        super().__init__(num_classes, background=background)
        self.gamma = gamma

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        losses = F.cross_entropy(logits, gt_classes, reduction="none")
        return (1 - (-losses).exp()) ** self.gamma * losses


@register_loss("cdt_variant")
class CDTVariant(CDTLoss):
    """CDT with another temperature of background, or on another scale.

    Args:
        num_classes, background, instance_counts, gamma, test_temperature: see `CDTLoss`.
        background_temperature: "one", as published; "mean" or "max": that of the classes.
        mean_one: divide the temperatures of the classes by their mean over the instances, so that the average
            foreground RoI has the temperature 1.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        instance_counts: Counts | None = None,
        gamma: float = 0.2,
        test_temperature: bool = False,
        background_temperature: str = "one",
        mean_one: bool = False,
    ) -> None:
        super().__init__(
            num_classes,
            background=background,
            instance_counts=instance_counts,
            gamma=gamma,
            test_temperature=test_temperature,
        )
        if background_temperature not in ("one", "mean", "max"):
            raise ValueError(f"CDT_VARIANT.BACKGROUND_TEMPERATURE is {background_temperature}.")
        self.background_temperature, self.mean_one = background_temperature, mean_one

    @property
    def temperature(self) -> Tensor:
        temperature = super().temperature.clone()
        classes = temperature[: self.num_classes]
        if self.mean_one:
            instances = 1 / self.imbalance[: self.num_classes]  # n_k / n_max
            classes /= (classes * instances).sum() / instances.sum()
        if self.background and self.background_temperature != "one":
            temperature[-1] = classes.mean() if self.background_temperature == "mean" else classes.max()
        return temperature


def main() -> int:
    from lt_det.training import argument_parser, run
    from tools.train_net import main as train

    return run(train, argument_parser().parse_args())


if __name__ == "__main__":
    sys.exit(main())
