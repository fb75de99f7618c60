"""yaml and LazyConfig build the same box predictor."""

import json

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.utils.events import EventStorage

from lt_det.errors import LtDetError
from lt_det.layers import CosineClassifier
from lt_det.losses import LOSSES, SoftmaxCrossEntropy, loss_class
from lt_det.modeling import LongTailPredictor, build_loss_for_data
from tests.helpers.models import NUM_CLASSES, small_config

SHAPE = ShapeSpec(channels=16)


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


def from_lazy(cfg, stats_file, name, classifier="auto", cosine_scale=None, **arguments):
    node = L(LongTailPredictor)(
        input_shape=SHAPE,
        box2box_transform=L(Box2BoxTransform)(weights=cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS),
        loss=L(build_loss_for_data)(
            name=name, num_classes=NUM_CLASSES, datasets=["unknown"], class_stats=stats_file, **arguments
        ),
        classifier=classifier,
        cosine_scale=cosine_scale,
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


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_deferred_reweighting(name, stats_file):
    overrides = {"MODEL.LONG_TAIL.REWEIGHTING.START": "first_lr_step", "MODEL.LONG_TAIL.REWEIGHTING.BETA": 0.99}
    predictor, cfg = from_yaml(stats_file, name, **overrides)
    start = cfg.SOLVER.STEPS[0] / cfg.SOLVER.MAX_ITER
    lazy = from_lazy(cfg, stats_file, name, reweighting_start=start, reweighting_beta=0.99)
    assert lazy.loss.start == start
    assert_equal_modules(predictor, lazy)


def test_inverse_frequency_to_a_power(stats_file):
    node = "MODEL.LONG_TAIL.REWEIGHTING"
    overrides = {f"{node}.START": 0.0, f"{node}.WEIGHTS": "inverse_frequency", f"{node}.POWER": 0.7}
    predictor, cfg = from_yaml(stats_file, "eql", **overrides)
    options = {"reweighting_weights": "inverse_frequency", "reweighting_power": 0.7}
    assert_equal_modules(predictor, from_lazy(cfg, stats_file, "eql", reweighting_start=0.0, **options))


def test_the_cosine_scale(stats_file):
    predictor, cfg = from_yaml(stats_file, "seesaw", **{"MODEL.LONG_TAIL.COSINE_SCALE": 16.0})
    assert predictor.cls_score.scale == 16
    assert_equal_modules(predictor, from_lazy(cfg, stats_file, "seesaw", cosine_scale=16.0))
    assert from_yaml(stats_file, "seesaw")[0].cls_score.scale == CosineClassifier(1, 1).scale == 20
    assert from_yaml(stats_file, "ldam")[0].cls_score.scale == 1


@pytest.mark.parametrize(
    ("loss", "classifier", "scale", "message"),
    [
        ("softmax", "auto", 16.0, "COSINE_SCALE is 16.0, but the classifier is linear"),
        ("ldam", "auto", 16.0, r"COSINE_SCALE is 16.0, .*MODEL\.LONG_TAIL\.LOSS\.LDAM\.SCALE"),
        ("softmax", "cosine", 0.0, "COSINE_SCALE is 0.0"),
    ],
)
def test_a_cosine_scale_is_not_ignored(loss, classifier, scale, message, stats_file):
    overrides = {"MODEL.LONG_TAIL.CLASSIFIER": classifier, "MODEL.LONG_TAIL.COSINE_SCALE": scale}
    with pytest.raises(LtDetError, match=message):
        from_yaml(stats_file, loss, **overrides)


def test_label_smoothing_with_the_prior_of_a_file(stats_file, tmp_path):
    prior = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    file = tmp_path / "prior.json"
    file.write_text(json.dumps(prior))
    predictor, cfg = from_yaml(
        stats_file, "label_smoothing", **{"MODEL.LONG_TAIL.LOSS.LABEL_SMOOTHING.PRIOR": str(file)}
    )
    assert predictor.loss.prior.tolist() == prior
    for given in (str(file), prior):
        assert_equal_modules(predictor, from_lazy(cfg, stats_file, "label_smoothing", prior=given))
    file.write_text('{"a": 1}')
    with pytest.raises(LtDetError, match=r"PRIOR .*prior\.json is not a list of numbers"):
        from_lazy(cfg, stats_file, "label_smoothing", prior=str(file))
    with pytest.raises(LtDetError, match=r"PRIOR is 'counts'.*uniform, frequency"):
        from_lazy(cfg, stats_file, "label_smoothing", prior="counts")


def test_unequal_modules_are_distinguished(stats_file):
    predictor, cfg = from_yaml(stats_file, "cdt")
    with pytest.raises(AssertionError):
        assert_equal_modules(predictor, from_lazy(cfg, stats_file, "cdt", gamma=0.3))


def test_the_predictor_sets_the_progress_of_the_loss():
    loss = SoftmaxCrossEntropy(NUM_CLASSES)
    arguments = {"box2box_transform": Box2BoxTransform((10, 10, 5, 5)), "loss": loss}
    predictions = (torch.zeros(0, NUM_CLASSES + 1), torch.zeros(0, 4 * NUM_CLASSES))
    with EventStorage(30):
        LongTailPredictor(SHAPE, **arguments).losses(predictions, [])
        assert loss.progress is None
        LongTailPredictor(SHAPE, **arguments, max_iter=40).losses(predictions, [])
    assert loss.progress == 0.75
