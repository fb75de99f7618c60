"""A loss that the network would ignore: the advice names the key that has to change."""

import pytest

from lt_det.training import load_config
from lt_det.unused_loss import unused_loss
from tests.helpers.configs import SEESAW


@pytest.mark.parametrize(
    ("network", "heads", "advice"),
    [
        ("GeneralizedRCNN", "StandardROIHeads", "set MODEL.ROI_HEADS.NAME to LongTailROIHeads,"),
        ("RetinaNet", "LongTailROIHeads", "set MODEL.META_ARCHITECTURE to GeneralizedRCNN."),
        ("RetinaNet", "Res5ROIHeads", "GeneralizedRCNN and MODEL.ROI_HEADS.NAME to LongTailROIHeads,"),
    ],
)
def test_advice_names_the_key_that_is_wrong(network, heads, advice):
    sentence = unused_loss(load_config(SEESAW, ["MODEL.META_ARCHITECTURE", network, "MODEL.ROI_HEADS.NAME", heads]))
    assert (
        f"LOSS.NAME is seesaw, but the network (MODEL.META_ARCHITECTURE {network}, ROI_HEADS.NAME {heads})" in sentence
    )
    assert advice in sentence
