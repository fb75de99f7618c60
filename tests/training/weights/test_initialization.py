"""Backbones that start from random weights: what is said at the start, and when the training diverges."""

import logging

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training import LongTailCheckpointer, watched
from lt_det.training.weights.initialization import backbone_problem
from tests.helpers.models import seeded_model, small_config

FROZEN = {"MODEL.RESNETS.NORM": "FrozenBN"}


def problem(weights="", missing=None, **keys):
    return backbone_problem(seeded_model(small_config(**keys)), weights, missing)


def test_a_random_backbone():
    found = problem(**FROZEN)
    assert found.startswith("MODEL.WEIGHTS")
    assert "frozen norms" in found
    assert "are frozen and never learn" in found
    assert "MODEL.RESNETS.NORM to BN or GN" in found
    assert "MODEL.BACKBONE.FREEZE_AT to 0" in found
    assert "frozen norms" not in problem()
    assert "never learn" in problem()
    assert "never learn" not in problem(**FROZEN, **{"MODEL.BACKBONE.FREEZE_AT": 0})
    assert problem(**{"MODEL.BACKBONE.FREEZE_AT": 0}) == ""


def test_a_random_backbone_of_timm():
    pytest.importorskip("timm")
    keys = {"MODEL.BACKBONE.NAME": "build_timm_fpn_backbone", "MODEL.TIMM.NAME": "resnet18"}
    found = problem(**keys)
    assert "frozen norms" in found
    assert "MODEL.TIMM.NORM to BN" in found
    assert problem(**keys, **{"MODEL.TIMM.NORM": "BN", "MODEL.BACKBONE.FREEZE_AT": 0}) == ""


def saved(model, file, keep):
    torch.save({"model": {name: weight for name, weight in model.state_dict().items() if keep(name)}}, file)
    return str(file)


@pytest.mark.parametrize(
    ("keep", "fraction"),
    [
        (lambda name: name.startswith("backbone.bottom_up."), None),  # ImageNet's have no FPN
        (lambda name: not name.startswith("backbone."), "100%"),
        (lambda name: "bottom_up.res5" not in name, "75%"),
        (lambda name: "bottom_up.stem" not in name, None),
    ],
)
def test_weights_without_a_part_of_the_backbone(tmp_path, caplog, keep, fraction):
    model = seeded_model(small_config(**FROZEN))
    file = saved(model, tmp_path / "weights.pth", keep)
    checkpointer = LongTailCheckpointer(model, str(tmp_path / "output"), save_to_disk=False)
    with caplog.at_level(logging.WARNING):
        checkpointer.resume_or_load(file, resume=False)
    assert (f"{file} (MODEL.WEIGHTS" in caplog.text) == (fraction is not None)
    assert f"lacks {fraction} of the backbone's weights" in checkpointer.problem_at_start or fraction is None
    assert bool(checkpointer.problem_at_start) == (fraction is not None)


class Diverging(nn.Module):
    """Its loss is infinite in the third iteration."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4))
        self.iterations = 0

    def forward(self, batch):
        self.iterations += 1
        loss = self.backbone(torch.ones(1, 3, 8, 8)).mean()
        return {"loss": loss / 0 if self.iterations == 3 else loss}


@pytest.mark.parametrize(("rate", "hint"), [(0.1, "0.1 for 2 images per step, 40.0 times 0.0025"), (0.0025, "")])
def test_the_message_of_a_training_that_diverges(tmp_path, caplog, rate, hint):
    model = Diverging()
    checkpointer = LongTailCheckpointer(model, str(tmp_path))
    with caplog.at_level(logging.WARNING):
        checkpointer.resume_or_load("", resume=False)
    assert "frozen norms" in caplog.text
    batch = [{"file_name": "a.jpg"}, {"file_name": "b.jpg"}]
    trainer = SimpleTrainer(model, [batch] * 5, torch.optim.SGD(model.parameters(), rate))
    trainer.checkpointer = checkpointer
    message = r"iteration 2: loss is -?inf .*frozen norms.*FREEZE_AT to 0; lower"
    with pytest.raises(LtDetError, match=message) as raised, watched(trainer, checkpointer):
        trainer.train(0, 5)
    assert hint in str(raised.value)
    assert ("images per step" in str(raised.value)) == bool(hint)
