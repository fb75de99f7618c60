"""A detector of lt_det without lt_det: Detectron2 builds it from a config of its own, and it detects the same."""

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Instances
from torch import nn

from lt_det.errors import LtDetError
from lt_det.inference.export import difference, traceable
from lt_det.inference.export_detectron2 import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    export_detectron2,
    stock_config,
    stock_weights,
)
from lt_det.losses import LOSSES
from lt_det.modeling.post_hoc_adjustment import adjusted
from lt_det.modeling.predictor import LongTailPredictor
from tests.helpers.models import NUM_CLASSES, seeded_model, small_config, synthetic_batch

NEITHER = {"seesaw", "eqlv2"}  # their scores multiply the classes by an objectness
D = 16


def with_random_classifiers(model):
    """Scores all over (0, 1), and no parameter of a classifier at its initial value.

    LDAM multiplies the logits by 30, and their rounding errors with them.
    """
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, LongTailPredictor):
            for name, values in module.cls_score.named_parameters():
                noise = torch.randn(values.shape, generator=generator)
                scale = torch.as_tensor(module.loss.score_scale).mean().clamp(min=1)
                values.data.copy_(1 + 0.3 * noise if name == "scale" else 0.5 * noise / scale)
    return model


def predictor_alone(loss, stats_file, classifier, **overrides):
    """Config and a model that is nothing but a box predictor."""
    overrides |= {"MODEL.LONG_TAIL.CLASS_STATS": stats_file, "MODEL.LONG_TAIL.CLASSIFIER": classifier}
    cfg = small_config(loss=loss, **overrides)
    torch.manual_seed(0)
    return cfg, with_random_classifiers(nn.ModuleDict({"one": LongTailPredictor(cfg, ShapeSpec(channels=D))}))


def scores_of(predictor, features):
    boxes = Instances((9, 9), objectness_logits=torch.zeros(len(features)))
    (scores,) = predictor.predict_probs(predictor(features), [boxes])
    return scores[:, :NUM_CLASSES]


def stock_predictor(cfg, model):
    stock = FastRCNNOutputLayers(stock_config(cfg, model, "model.pth"), ShapeSpec(channels=D))
    stock.load_state_dict({name.removeprefix("one."): values for name, values in stock_weights(model).items()})
    return stock.eval()


@pytest.mark.parametrize("classifier", ["linear", "scaled"])
@pytest.mark.parametrize("loss", sorted(set(LOSSES) - NEITHER))
def test_scores_of_every_loss(loss, classifier, stats_file):
    cfg, model = predictor_alone(loss, stats_file, classifier)
    features = torch.randn(50, D)
    expected = scores_of(model.eval()["one"], features)
    assert expected.std() > 0.05
    torch.testing.assert_close(scores_of(stock_predictor(cfg, model), features), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("loss", "key"), [("cdt", "TEST_TEMPERATURE"), ("class_balanced", "BASE")])
def test_scores_that_depend_on_a_hyperparameter(loss, key, stats_file):
    value = {"TEST_TEMPERATURE": True, "BASE": "sigmoid"}[key]
    cfg, model = predictor_alone(loss, stats_file, "linear", **{f"MODEL.LONG_TAIL.LOSS.{loss.upper()}.{key}": value})
    features = torch.randn(50, D)
    expected = scores_of(model.eval()["one"], features)
    torch.testing.assert_close(scores_of(stock_predictor(cfg, model), features), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["tau_norm", "norcal", "logit_adjustment"])
def test_scores_after_post_hoc_adjustment(method, stats_file):
    cfg, model = predictor_alone("softmax", stats_file, "linear")
    predictor = model.eval()["one"]
    counts = 3.0 ** torch.arange(NUM_CLASSES)
    predictor.cls_score.load_state_dict(adjusted(predictor.cls_score, predictor.loss, method, 0.7, counts))
    features = torch.randn(50, D)
    expected = scores_of(predictor, features)
    torch.testing.assert_close(scores_of(stock_predictor(cfg, model), features), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("loss", "classifier", "said"),
    [
        ("seesaw", "linear", "seesaw are neither.*--format torchscript"),
        ("eqlv2", "linear", "eqlv2 are neither.*--format torchscript"),
        ("ldam", "auto", "CosineClassifier.*CLASSIFIER linear"),
        ("softmax", "cosine", "CosineClassifier.*CLASSIFIER linear"),
    ],
)
def test_what_detectron2_cannot_be_given(loss, classifier, said, stats_file):
    cfg, model = predictor_alone(loss, stats_file, classifier)
    with pytest.raises(LtDetError, match=said):
        stock_config(cfg, model, "model.pth")


def test_a_part_that_is_not_detectron2s():
    model = nn.ModuleDict({"backbone": type("Mine", (nn.Module,), {"__module__": "mine.backbones"})()})
    with pytest.raises(LtDetError, match=r"backbone is mine's Mine\b"):
        stock_config(small_config(), model, "model.pth")


@pytest.mark.parametrize(
    ("heads", "loss", "classifier"),
    [
        ("LongTailROIHeads", "eql", "linear"),
        ("LongTailCascadeROIHeads", "cdt", "scaled"),
        pytest.param("LongTailRes5ROIHeads", "softmax", "linear", marks=pytest.mark.long),
    ],
)
def test_detections_of_detectron2_alone(heads, loss, classifier, stats_file, tmp_path):
    masks = {"MODEL.MASK_ON": True, "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead"}
    keys = {"MODEL.LONG_TAIL.CLASS_STATS": stats_file, "MODEL.LONG_TAIL.CLASSIFIER": classifier}
    more = {"MODEL.ROI_MASK_HEAD.CONV_DIM": 16, "MODEL.PIXEL_STD": [64.0, 64.0, 64.0], "INPUT.MIN_SIZE_TEST": 96}
    cfg = small_config(heads, loss, **masks, **keys, **more)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.02
    model = with_random_classifiers(seeded_model(cfg)).eval()
    image = synthetic_batch()[0]["image"].float()
    exported = export_detectron2(model, stock_config(cfg, model, tmp_path / WEIGHTS_NAME), image, tmp_path)
    found = difference(traceable(model, image), exported, image)
    assert (found.unmatched, found.eager > 5) == (0, True)

    stock_cfg = get_cfg()  # without lt_det's keys
    stock_cfg.merge_from_file(str(tmp_path / CONFIG_NAME))
    stock = build_model(stock_cfg).eval()
    assert not [name for name, module in stock.named_modules() if type(module).__module__.startswith("lt_det")]
    file = torch.load(tmp_path / WEIGHTS_NAME, weights_only=True)
    assert set(file["model"]) == set(stock.state_dict())
    DetectionCheckpointer(stock).load(stock_cfg.MODEL.WEIGHTS)
    inputs = [{"image": image, "height": 120, "width": 120}]
    with torch.no_grad():
        expected, got = (each(inputs)[0]["instances"] for each in (model, stock))
    assert len(expected) > 5
    assert torch.equal(got.pred_classes, expected.pred_classes)
    torch.testing.assert_close(got.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.scores, expected.scores, rtol=0, atol=1e-6)
    assert torch.equal(got.pred_masks, expected.pred_masks)
    assert stock_cfg.INPUT.MIN_SIZE_TEST == 96


def test_stock_heads_trained_with_the_federated_loss():
    """Its counts of images come from a training set, which the written config does not have."""
    MetadataCatalog.get("federated_set").class_image_count = [
        {"id": k, "image_count": k + 1} for k in range(NUM_CLASSES)
    ]
    keys = {"MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": True, "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": True}
    cfg = small_config("StandardROIHeads", **keys, **{"DATASETS.TRAIN": ("federated_set",)})
    model = seeded_model(cfg)
    built = build_model(stock_config(cfg, model, "model.pth"))
    built.load_state_dict(stock_weights(model))
    assert built.roi_heads.box_predictor.use_sigmoid_ce
