"""yaml and LazyConfig build the same box predictor."""

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.utils.events import EventStorage

from lt_det.losses import LOSSES, SoftmaxCrossEntropy, loss_class
from lt_det.modeling import LongTailPredictor, build_loss_for_data
from tests.helpers.models import NUM_CLASSES, small_config

SHAPE = ShapeSpec(channels=16)
REWEIGHTED = ["cdt", "label_smoothing", "ldam", "logit_adjustment", "seql", "softmax"]


def plain(module):
    """A module's own settings, without what torch keeps there."""
    return {k: v for k, v in vars(module).items() if not k.startswith("_") and isinstance(v, int | float | str | None)}


def assert_equal_modules(first, second):
    names = [name for name, _ in first.named_modules()]
    assert names == [name for name, _ in second.named_modules()]
    for one, other in zip(first.modules(), second.modules(), strict=True):
        assert type(one) is type(other)
        assert plain(one) == plain(other)
        assert one._buffers.keys() == other._buffers.keys()
        assert one._non_persistent_buffers_set == other._non_persistent_buffers_set
        for key, value in one._buffers.items():
            assert torch.equal(value, other._buffers[key]), key
        for key, value in one._parameters.items():
            assert (value is None) is (other._parameters[key] is None)
            assert value is None or torch.equal(value, other._parameters[key]), key


def from_yaml(stats_file, name, **overrides):
    cfg = small_config(loss=name, **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file, **overrides})
    torch.manual_seed(0)
    return LongTailPredictor(cfg, SHAPE), cfg


def from_lazy(cfg, stats_file, name, classifier="auto", **arguments):
    node = L(LongTailPredictor)(
        input_shape=SHAPE,
        box2box_transform=L(Box2BoxTransform)(weights=cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS),
        loss=L(build_loss_for_data)(
            name=name, num_classes=NUM_CLASSES, datasets=["unknown"], class_stats=stats_file, **arguments
        ),
        classifier=classifier,
        max_iter=cfg.SOLVER.MAX_ITER,
        test_score_thresh=0.0,
    )
    torch.manual_seed(0)
    return instantiate(node)


@pytest.mark.parametrize("classifier", ["auto", "linear", "cosine"])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss(name, classifier, stats_file):
    predictor, cfg = from_yaml(stats_file, name, **{"MODEL.LONG_TAIL.CLASSIFIER": classifier})
    assert_equal_modules(predictor, from_lazy(cfg, stats_file, name, classifier))


@pytest.mark.parametrize("name", [name for name in sorted(LOSSES) if "gamma" in loss_class(name).hyperparameters()])
def test_hyperparameters(name, stats_file):
    predictor, cfg = from_yaml(stats_file, name, **{f"MODEL.LONG_TAIL.LOSS.{name.upper()}.GAMMA": 0.25})
    assert predictor.loss.gamma == 0.25
    assert_equal_modules(predictor, from_lazy(cfg, stats_file, name, gamma=0.25))


@pytest.mark.parametrize("name", REWEIGHTED)
def test_deferred_reweighting(name, stats_file):
    overrides = {"MODEL.LONG_TAIL.REWEIGHTING.START": "first_lr_step", "MODEL.LONG_TAIL.REWEIGHTING.BETA": 0.99}
    predictor, cfg = from_yaml(stats_file, name, **overrides)
    start = cfg.SOLVER.STEPS[0] / cfg.SOLVER.MAX_ITER
    lazy = from_lazy(cfg, stats_file, name, reweighting_start=start, reweighting_beta=0.99)
    assert lazy.loss.reweighting.start == start
    assert_equal_modules(predictor, lazy)


def test_unequal_modules_are_told_apart(stats_file):
    predictor, cfg = from_yaml(stats_file, "cdt")
    with pytest.raises(AssertionError):
        assert_equal_modules(predictor, from_lazy(cfg, stats_file, "cdt", gamma=0.3))


def test_the_predictor_tells_the_loss_the_time():
    loss = SoftmaxCrossEntropy(NUM_CLASSES)
    arguments = {"box2box_transform": Box2BoxTransform((10, 10, 5, 5)), "loss": loss}
    predictions = (torch.zeros(0, NUM_CLASSES + 1), torch.zeros(0, 4 * NUM_CLASSES))
    with EventStorage(30):
        LongTailPredictor(SHAPE, **arguments).losses(predictions, [])
        assert loss.progress is None
        LongTailPredictor(SHAPE, **arguments, max_iter=40).losses(predictions, [])
    assert loss.progress == 0.75
