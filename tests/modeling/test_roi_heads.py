"""The three heads in real Detectron2 models."""

import itertools
import json

import pytest
import torch
from detectron2.utils.events import EventStorage

from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, ClassificationLoss, register_loss
from tests.helpers.models import NUM_CLASSES, annotations, seeded_model, small_config, synthetic_batch

HEADS = {
    "LongTailROIHeads": "StandardROIHeads",
    "LongTailCascadeROIHeads": "CascadeROIHeads",
    "LongTailRes5ROIHeads": "Res5ROIHeads",
}
every_head = pytest.mark.parametrize("head", HEADS)


def train_step(model, masks=False):
    """Losses and gradients of one batch, with the sampling of RoIs seeded."""
    model.train()
    torch.manual_seed(1)
    with EventStorage():
        losses = model(synthetic_batch(masks=masks))
    sum(losses.values()).backward()
    return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def predict(model):
    model.eval()
    with torch.no_grad():
        return [output["instances"] for output in model(synthetic_batch())]


@every_head
def test_softmax_equals_stock_bit_for_bit(head):
    ours = seeded_model(small_config(head))
    stock = seeded_model(small_config(HEADS[head]))
    assert ours.state_dict().keys() == stock.state_dict().keys()
    for name, weight in stock.state_dict().items():  # from the same seed, without copying weights
        assert torch.equal(ours.state_dict()[name], weight), name

    our_losses, our_gradients = train_step(ours)
    stock_losses, stock_gradients = train_step(stock)
    assert {k: v.item() for k, v in our_losses.items()} == {k: v.item() for k, v in stock_losses.items()}
    assert our_gradients.keys() == stock_gradients.keys()
    for name, gradient in stock_gradients.items():
        assert torch.equal(our_gradients[name], gradient), name

    for mine, theirs in zip(predict(ours), predict(stock), strict=True):
        assert len(mine) > 0
        assert torch.equal(mine.pred_boxes.tensor, theirs.pred_boxes.tensor)
        assert torch.equal(mine.scores, theirs.scores)
        assert torch.equal(mine.pred_classes, theirs.pred_classes)


def heads_and_losses():
    """All, but the slow C4 head in the usual tests with one loss of each kind only."""
    for head, loss in itertools.product(HEADS, sorted(LOSSES)):
        is_long = "Res5" in head and loss not in ("softmax", "eql", "seesaw", "ldam")
        yield pytest.param(head, loss, marks=pytest.mark.long if is_long else ())


@pytest.mark.parametrize(("head", "loss"), heads_and_losses())
def test_every_loss_takes_a_step_in_every_head(head, loss, stats_file):
    model = seeded_model(small_config(head, loss, **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file}))
    losses, gradients = train_step(model)
    assert all(torch.isfinite(value) for value in losses.values())
    classifiers = [g for name, g in gradients.items() if name.endswith("cls_score.weight")]
    assert len(classifiers) == (3 if "Cascade" in head else 1)
    assert all(g.abs().sum() > 0 for g in classifiers)
    assert predict(model)[0].scores.numel() > 0


def test_mask_branch_is_unchanged():
    ours = seeded_model(small_config("LongTailROIHeads", **{"MODEL.MASK_ON": True}))
    stock = seeded_model(small_config("StandardROIHeads", **{"MODEL.MASK_ON": True}))
    our_losses, _ = train_step(ours, masks=True)
    stock_losses, _ = train_step(stock, masks=True)
    assert our_losses["loss_mask"].item() == stock_losses["loss_mask"].item()


def test_cascade_has_one_loss_state_per_stage(stats_file):
    cfg = small_config("LongTailCascadeROIHeads", "eql", **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file})
    losses = [predictor.loss for predictor in seeded_model(cfg).roi_heads.box_predictor]
    assert len({id(loss) for loss in losses}) == 3


def test_test_time_model_needs_no_data_set(stats_file):
    """A trained checkpoint gives the same predictions where the training set is unknown."""
    options = {"MODEL.LONG_TAIL.CLASS_STATS": stats_file}
    trained = seeded_model(small_config(loss="eql", **options))
    elsewhere = small_config(loss="eql", **{"DATASETS.TRAIN": ("unknown_here",), "MODEL.LONG_TAIL.CLASS_STATS": ""})
    model = seeded_model(elsewhere)
    assert model.state_dict().keys() == trained.state_dict().keys()
    model.load_state_dict(trained.state_dict())
    assert torch.equal(predict(model)[0].scores, predict(trained)[0].scores)
    with pytest.raises(LtDetError, match="'unknown_here' is not registered"):
        train_step(model)


@every_head
def test_sigmoid_head_starts_at_its_prior(head):
    model = seeded_model(small_config(head, "sigmoid"))
    biases = [p for name, p in model.named_parameters() if name.endswith("cls_score.bias")]
    assert biases
    for bias in biases:
        torch.testing.assert_close(bias[:NUM_CLASSES].sigmoid(), torch.full((NUM_CLASSES,), 0.001))


def test_class_count_mismatch(tmp_path):
    path = tmp_path / "seven.json"
    path.write_text(json.dumps(annotations(7)))
    with pytest.raises(LtDetError, match=r"NUM_CLASSES is 5, but .*seven\.json has 7 classes; set MODEL"):
        seeded_model(small_config(loss="eql", **{"MODEL.LONG_TAIL.CLASS_STATS": str(path)}))


def test_forgotten_add_lt_config():
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_HEADS.NAME = "LongTailRes5ROIHeads"
    with pytest.raises(LtDetError, match=r"call lt_det\.add_lt_config"):
        build_model(cfg)


def test_stock_loss_options_are_refused():
    with pytest.raises(LtDetError, match="USE_SIGMOID_CE chooses a loss of the stock head"):
        seeded_model(small_config(**{"MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": True}))


def test_cosine_classifier_by_config():
    model = seeded_model(small_config(**{"MODEL.LONG_TAIL.CLASSIFIER": "cosine"}))
    assert type(model.roi_heads.box_predictor.cls_score).__name__ == "CosineClassifier"
    losses, _ = train_step(model)
    assert torch.isfinite(losses["loss_cls"])
    with pytest.raises(LtDetError, match=r"CLASSIFIER is 'cosin'; write auto, linear, cosine or scaled"):
        seeded_model(small_config(**{"MODEL.LONG_TAIL.CLASSIFIER": "cosin"}))


def test_a_users_own_loss_gets_features_and_columns():
    """Registered outside the package, with one more column than stock, and with the classifier's input."""
    seen = []

    @register_loss("test_only_wide")
    class Wide(ClassificationLoss):
        uses_features = True

        def __init__(self, num_classes, *, strength: float = 1.0):
            super().__init__(num_classes)
            self.strength = strength

        @property
        def num_logits(self):
            return self.num_classes + 2

        def forward(self, logits, gt_classes, features=None):
            seen.append((logits.shape, features.shape))
            return self.strength * logits.square().mean()

        def scores(self, logits):
            return logits[:, : self.num_classes + 1].softmax(dim=1)

    try:
        cfg = small_config(loss="test_only_wide", **{"MODEL.LONG_TAIL.LOSS.TEST_ONLY_WIDE.STRENGTH": 2.0})
        model = seeded_model(cfg)
        train_step(model)
        assert model.roi_heads.box_predictor.loss.strength == 2.0
        (logits, features) = seen[0]
        assert logits == (features[0], NUM_CLASSES + 2)
        assert features[1] == 64
        assert predict(model)[0].pred_classes.max() < NUM_CLASSES
    finally:
        del LOSSES["test_only_wide"]
