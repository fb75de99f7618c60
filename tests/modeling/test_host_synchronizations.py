"""No loss makes the host wait for the GPU more often than Detectron2's own head, which waits eight times a step.

Counted from the operations, see `benchmarks.gpu.host_synchronizations`: these tests have no GPU.
"""

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from benchmarks.gpu.host_synchronizations import HostSynchronizations
from lt_det.losses import LOSSES, ClassReweighting, build_loss
from lt_det.losses._rows import checked
from lt_det.modeling import LongTailPredictor
from lt_det.statistics import ClassStats

NUM_CLASSES = 6
COUNTS = np.array([1, 5, 20, 100, 400, 900])
STATS = ClassStats(tuple("abcdef"), COUNTS, COUNTS, 1000, "synthetic")
ARGUMENTS = {"box2box_transform": Box2BoxTransform((10, 10, 5, 5)), "test_score_thresh": 0.0}
# Of the loss alone: the rows of foreground, the columns of tail classes, a sample of classes.
ALONE = {"seesaw": 1, "seql": 2, "federated": 4}
CASES = {name: (name, {}) for name in sorted(LOSSES)}
CASES |= {f"class_balanced {base}": ("class_balanced", {"base": base}) for base in ("sigmoid", "focal")}
CASES |= {"ib measured": ("ib", {"alpha": 3.0, "focal_gamma": 1.0}), "cdt linear": ("cdt", {})}


def proposals():
    boxes = Boxes(torch.tensor([[1.0, 2.0, 30.0, 40.0]]).repeat(12, 1) + torch.arange(12.0)[:, None])
    classes = torch.tensor([0, 5, 3, 3, *[NUM_CLASSES] * 8])
    return [Instances((64, 64), proposal_boxes=boxes, gt_boxes=boxes, gt_classes=classes)]


def waits_of_a_step(predictor, iteration):
    """Of the second of two steps, losses and gradients, on random features."""
    torch.manual_seed(0)
    features, data = torch.rand(12, 16), proposals()
    for _ in range(2):
        with EventStorage(iteration), HostSynchronizations("cpu") as found:
            sum(predictor.losses(predictor(features), data).values()).backward()
    return found.count


@pytest.fixture(scope="module")
def stock():
    predictor = FastRCNNOutputLayers(ShapeSpec(channels=16, height=1, width=1), num_classes=NUM_CLASSES, **ARGUMENTS)
    return waits_of_a_step(predictor, 0)


def test_the_stock_head_waits(stock):
    assert stock == 8


@pytest.mark.parametrize("progress", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_no_loss_waits_more_often_than_the_stock_head(stock, case, progress):
    name, hyperparameters = CASES[case]
    loss = build_loss(name, STATS, **hyperparameters)
    if name == "ib":
        loss.phase1_means.fill_(1.0)  # phase 2 measures nothing
    shape = ShapeSpec(channels=16, height=1, width=1)
    waits = waits_of_a_step(LongTailPredictor(shape, loss=loss, max_iter=1, **ARGUMENTS), progress)
    assert waits == 3 + ALONE.get(name, 0)  # one for the accuracy, two for box regression
    assert waits <= stock


def test_reweighting_does_not_wait(stock):
    loss = ClassReweighting(build_loss("softmax", STATS), torch.ones(NUM_CLASSES), start=0.5)
    predictor = LongTailPredictor(ShapeSpec(channels=16, height=1, width=1), loss=loss, max_iter=1, **ARGUMENTS)
    assert waits_of_a_step(predictor, 1) == 3


def test_targets_on_a_gpu_are_not_read():
    """A tensor on "meta" has no values: reading one would raise."""
    targets = torch.zeros(3, dtype=torch.int64, device="meta")
    logits = torch.zeros(3, NUM_CLASSES, device="meta")
    assert checked(logits, targets).shape == (3, NUM_CLASSES)


def test_what_is_counted():
    mask, values = torch.tensor([True, False]), torch.ones(2)
    works = {
        lambda: values[0].item(): 1,
        lambda: bool(mask.any()): 1,
        lambda: values[mask]: 1,
        lambda: mask.nonzero(): 1,
        lambda: values.masked_fill_(mask, 0.0): 0,
        lambda: values.__setitem__(mask, 2.0): 0,
        lambda: values.tolist(): 1,
        lambda: torch.tensor([1.0]): 1,
        lambda: torch.where(mask, values, 0.0).sum(): 0,
    }
    for work, expected in works.items():
        with HostSynchronizations("cpu") as found:
            work()
        assert found.count == expected
