"""Every shipped config builds its model at its true size and takes a training step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils.events import EventStorage

from lt_det.modeling import LongTailPredictor
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import load_config, load_lazy_config, mark_applied
from tests.helpers.models import synthetic_batch

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
YAML = sorted(CONFIGS.glob("*.yaml"))
LAZY = sorted((CONFIGS / "lazy").glob("*.py"))


def identifier(path):
    return path.name


@pytest.fixture
def counts(tmp_path):
    """Saved counts of K classes: the real sets are not on this machine."""

    def save(num_classes):
        images = np.geomspace(1, 2000, num_classes).astype(np.int64)
        file = tmp_path / "counts.json"
        ClassStats(tuple(f"c{k}" for k in range(num_classes)), images, images, 100_000, "a test").save(file)
        return str(file)

    return save


def take_a_step(model, optimizer, num_classes, masks):
    model.train()
    mark_applied(model, "MODEL.LONG_TAIL.SECOND_STAGE.METHOD")  # decoupled training has tests of its own
    with EventStorage():
        losses = model(synthetic_batch(num_classes, size=128, masks=masks))
    total = sum(losses.values())
    total.backward()
    optimizer.step()
    assert torch.isfinite(total)
    assert ("loss_mask" in losses) is masks


def predictors(model):
    return [module for module in model.modules() if isinstance(module, LongTailPredictor)]


@pytest.mark.parametrize("path", YAML, ids=identifier)
def test_yaml(path, counts):
    cfg = load_config(str(path))
    num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.LONG_TAIL.CLASS_STATS = counts(num_classes)
    model = build_model(cfg)
    assert len(predictors(model)) == (3 if "cascade" in path.name else 1)
    for predictor in predictors(model):
        columns = num_classes + (2 if "seesaw" in path.name else 1)
        assert predictor.cls_score.out_features == predictor.loss.num_logits == columns
    take_a_step(model, build_optimizer(cfg, model), num_classes, cfg.MODEL.MASK_ON)


@pytest.mark.parametrize("path", LAZY, ids=identifier)
def test_lazy_twin_is_the_yaml_config(path, counts):
    lazy = load_lazy_config(str(path))
    cfg = load_config(str(CONFIGS / f"{path.stem}.yaml"))
    num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.LONG_TAIL.CLASS_STATS = counts(num_classes)
    lazy.model.roi_heads.box_predictor.loss.class_stats = counts(num_classes)
    twin, model = instantiate(lazy.model), build_model(cfg)

    assert {n: p.shape for n, p in twin.state_dict().items()} == {n: p.shape for n, p in model.state_dict().items()}
    trained = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (twin, model)]
    assert trained[0] == trained[1]
    (mine,), (theirs,) = predictors(twin), predictors(model)
    for attribute in ("test_score_thresh", "test_nms_thresh", "test_topk_per_image", "smooth_l1_beta", "num_classes"):
        assert getattr(mine, attribute) == getattr(theirs, attribute), attribute
    assert mine.box2box_transform.weights == theirs.box2box_transform.weights
    assert torch.equal(mine.cls_score.bias, theirs.cls_score.bias)
    assert torch.equal(mine.loss.is_tail, theirs.loss.is_tail)
    assert mine.max_iter == theirs.max_iter
    for attribute in ("batch_size_per_image", "positive_fraction"):
        assert getattr(twin.roi_heads, attribute) == getattr(model.roi_heads, attribute)
        assert getattr(twin.proposal_generator, attribute) == getattr(model.proposal_generator, attribute)
    assert twin.proposal_generator.pre_nms_topk == model.proposal_generator.pre_nms_topk
    assert twin.proposal_generator.post_nms_topk == model.proposal_generator.post_nms_topk
    assert torch.equal(twin.pixel_mean, model.pixel_mean)
    assert torch.equal(twin.pixel_std, model.pixel_std)

    lazy.optimizer.params.model = twin
    optimizer = instantiate(lazy.optimizer)
    schedule, max_iter = instantiate(lazy.lr_multiplier), cfg.SOLVER.MAX_ITER
    assert lazy.train.max_iter == max_iter
    reference = build_lr_scheduler(cfg, build_optimizer(cfg, model))
    for iteration in (0, 50, *cfg.SOLVER.STEPS, max_iter - 1):
        factor = schedule(iteration / max_iter)
        assert factor * lazy.optimizer.lr == pytest.approx(
            cfg.SOLVER.BASE_LR * reference._multiplier(iteration / max_iter)
        )
    assert lazy.dataloader.train.total_batch_size == cfg.SOLVER.IMS_PER_BATCH
    assert lazy.dataloader.train.dataset.names in cfg.DATASETS.TRAIN
    take_a_step(twin, optimizer, num_classes, cfg.MODEL.MASK_ON)


@pytest.mark.parametrize("path", [*YAML, *LAZY], ids=identifier)
def test_config_says_what_to_expect(path):
    text = path.read_text()
    assert "Expect " in text or "reference number" in text or "number to expect" in text
