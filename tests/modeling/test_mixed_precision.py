"""Mixed precision, on the CPU: the box predictor, because float16 convolutions take minutes there."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from lt_det.errors import LtDetError
from lt_det.losses import LOSSES
from lt_det.modeling import LongTailPredictor
from lt_det.training.accumulation import AccumulatingAMPTrainer, amp_precision, build_step_trainer
from tests.helpers import needs_float16
from tests.helpers.models import NUM_CLASSES, small_config


class BoxHead(nn.Module):
    """A layer and a predictor behind it, and their losses for 40 foreground and background RoIs."""

    def __init__(self, predictor):
        super().__init__()
        self.layer, self.predictor = nn.Linear(32, 32), predictor

    def forward(self, features):
        features = self.layer(features)
        self.seen = features.dtype
        logits, deltas, *more = self.predictor(features)
        rois = Instances((100, 100))
        boxes = torch.rand(40, 4) * 50
        boxes[:, 2:] += boxes[:, :2] + 1
        rois.proposal_boxes, rois.gt_boxes = Boxes(boxes), Boxes(boxes + 1)
        rois.gt_classes = torch.arange(40) % (NUM_CLASSES + 1)
        return self.predictor.losses((logits, deltas, *more), [rois])


@pytest.mark.parametrize("precision", [pytest.param("float16", marks=needs_float16), "bfloat16"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_takes_steps(loss, precision, stats_file):
    torch.manual_seed(0)
    cfg = small_config(loss=loss, **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file})
    model = BoxHead(LongTailPredictor(cfg, ShapeSpec(channels=32)))
    before = model.layer.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    trainer = build_step_trainer(model, torch.randn(40, 40, 32), optimizer, amp_precision(True, precision), 2)
    assert isinstance(trainer, AccumulatingAMPTrainer)
    with EventStorage() as storage:
        for trainer.iter in range(20):  # the scale begins too high for float16 and falls
            trainer.run_step()
            assert all(torch.tensor(value).isfinite() for value, _ in storage.latest().values())
    assert model.seen == getattr(torch, precision)
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert (model.layer.weight - before).abs().max() > 1e-4


@needs_float16
def test_only_float16_scales_the_loss():
    for precision, scales in (("float16", True), ("bfloat16", False)):
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = build_step_trainer(model, [], optimizer, amp_precision(True, precision), 2)
        assert trainer.grad_scaler.is_enabled() == scales
    assert amp_precision(False, "bfloat16") is None


@needs_float16
def test_training_continues_in_another_precision():
    """A checkpoint of bfloat16 or float32 has no loss scale to continue with."""
    model = nn.Linear(1, 1)
    arguments = (model, [], torch.optim.SGD(model.parameters(), lr=0.1))
    whole = build_step_trainer(*arguments, amp_precision(False, "float16"), 1).state_dict()
    brain = build_step_trainer(*arguments, amp_precision(True, "bfloat16"), 2).state_dict()
    assert "grad_scaler" not in whole
    assert not brain["grad_scaler"]
    for state in (whole, brain):
        half = build_step_trainer(*arguments, amp_precision(True, "float16"), 2)
        scale = half.grad_scaler.get_scale()
        half.load_state_dict(state)
        assert half.grad_scaler.get_scale() == scale


def test_another_precision_is_one_sentence():
    with pytest.raises(LtDetError, match=r"SOLVER.AMP.PRECISION \(LazyConfig: train.amp.precision\) is 'half'; write"):
        amp_precision(True, "half")
