"""Weights that were trained for as many, but other classes than those of the data."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import nn

from lt_det.bakeoff.detector import load_detector
from lt_det.bakeoff.features.options import FeatureOptions
from lt_det.bakeoff.features.plan import Plan
from lt_det.data import register_dataset
from lt_det.errors import LtDetError
from lt_det.inference.adjustment_search import search_adjustment
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import (
    LongTailCheckpointer,
    LongTailTrainer,
    build_checkpointer,
    load_lazy_config,
    train_classifier_only,
)
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.lazy_trainer import evaluate_lazy
from lt_det.training.resume.data_fingerprint import DataFingerprint, TrainingData
from tests.helpers import REPOSITORY
from tests.helpers.models import annotations, seeded_model, small_config

NAMES = ["ant", "bee", "cat", "dog", "eel"]
MOVED = {
    "reversed": NAMES[::-1],
    "one more in front": ["ape", "ant", "bee", "cat", "dog"],
    "two and a new one": ["bee", "ant", "cat", "dog", "elk"],
}
RENAMED = {
    "one": ["ant", "bee", "kitten", "dog", "eel"],
    "translated": ["fourmi", "abeille", "chat", "chien", "anguille"],
}
ALIKE = {"same": NAMES, "unknown": [], "of another number": NAMES[1:]}
HEADS = ["LongTailROIHeads", "StandardROIHeads"]


@pytest.fixture(params=["checkpoint", "counts beside", "Detectron2's"])
def source(request):
    return request.param


def trained(folder, heads="LongTailROIHeads", source="checkpoint"):
    """Weights for NAMES; what says so is the checkpoint, the counts beside it, or nothing."""
    model = seeded_model(small_config(heads))
    data = TrainingData(DataFingerprint(NAMES)) if source == "checkpoint" else nn.Linear(1, 1)
    LongTailCheckpointer(model, str(folder), training_data=data).save("before")
    if source == "counts beside":
        found = annotations()
        for category, name in zip(found["categories"], NAMES, strict=True):
            category["name"] = name
        ClassStats.from_annotations(found, "training set").save(folder / "class_stats.json")
    return model, str(folder / "before.pth")


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and "before.pth" in r.getMessage()]


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("name", [*MOVED, *RENAMED, *ALIKE])
def test_evaluation(tmp_path, caplog, heads, name, source):
    _, file = trained(tmp_path, heads, source)
    checkpointer = evaluation_checkpointer(
        seeded_model(small_config(heads)), classes={**MOVED, **RENAMED, **ALIKE}[name]
    )
    if name in MOVED and source != "Detectron2's":
        with pytest.raises(LtDetError, match=rf"{file} .*class 0 is '{MOVED[name][0]}' .*'ant'"):
            checkpointer.load(file)
        return
    checkpointer.load(file)
    assert len(warnings(caplog)) == (name in RENAMED and source != "Detectron2's")
    assert all("'kitten'" in text or "'fourmi'" in text for text in warnings(caplog))


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("name", [*MOVED, *RENAMED, *ALIKE])
def test_a_training_that_starts_from_them(tmp_path, caplog, heads, name):
    before, file = trained(tmp_path, heads)
    before.roi_heads.box_predictor.cls_score.bias.data += 1
    LongTailCheckpointer(before, str(tmp_path), training_data=TrainingData(DataFingerprint(NAMES))).save("before")
    model = seeded_model(small_config(heads))
    checkpointer = LongTailCheckpointer(model, str(tmp_path / "new"))
    checkpointer.classes = {**MOVED, **RENAMED, **ALIKE}[name]
    checkpointer.load(file)
    starts_fresh = name in MOVED and heads == "LongTailROIHeads"
    bias = model.roi_heads.box_predictor.cls_score.bias
    assert torch.equal(bias, before.roi_heads.box_predictor.cls_score.bias) != starts_fresh
    assert len(warnings(caplog)) == (name not in ALIKE)
    assert all(("fresh for" in text) == starts_fresh for text in warnings(caplog))


def test_a_backbone_was_trained_for_no_classes(tmp_path, caplog):
    model, file = trained(tmp_path, source="counts beside")
    weights = {name: weight for name, weight in model.state_dict().items() if name.startswith("backbone")}
    torch.save({"model": weights}, file)
    checkpointer = LongTailCheckpointer(seeded_model(small_config()), str(tmp_path / "new"))
    checkpointer.classes = MOVED["reversed"]
    checkpointer.load(file)
    assert warnings(caplog) == []


@pytest.mark.parametrize("method", ["crt", "lws"])
def test_decoupled_training(tmp_path, caplog, method):
    """LWS keeps the rows of the classifier, cRT does not."""
    _, file = trained(tmp_path)
    model = seeded_model(small_config(**{"MODEL.LONG_TAIL.SECOND_STAGE.METHOD": method}))
    train_classifier_only(model, method)
    checkpointer = build_checkpointer(method, model, str(tmp_path / method))
    checkpointer.classes = MOVED["reversed"]
    if method == "lws":
        with pytest.raises(LtDetError, match=r"class 0 is 'eel'"):
            checkpointer.resume_or_load(file, resume=False)
    else:
        checkpointer.resume_or_load(file, resume=False)
    assert warnings(caplog) == []


def test_the_synonym_in_detectron2s_lvis(tmp_path, caplog):
    model, file = trained(tmp_path)
    names = [*NAMES[:4], "horned_cow"]
    LongTailCheckpointer(model, str(tmp_path), training_data=TrainingData(DataFingerprint(names))).save("before")
    evaluation_checkpointer(model, classes=[*NAMES[:4], "bull"]).load(file)
    assert warnings(caplog) == []


def evaluated(cfg):
    LongTailTrainer.evaluate(cfg)


def small_model():
    return seeded_model(small_config())


def evaluated_lazily(cfg):
    lazy = load_lazy_config(str(REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"))
    lazy.train.update(init_checkpoint=cfg.MODEL.WEIGHTS, output_dir=cfg.OUTPUT_DIR, device="cpu")
    lazy.dataloader.train.dataset.names = lazy.dataloader.test.dataset.names = cfg.DATASETS.TRAIN[0]
    lazy.model = L(small_model)()
    evaluate_lazy(lazy)


def planned(cfg):
    Plan.make(cfg, Path(cfg.OUTPUT_DIR), FeatureOptions(), {})


@pytest.mark.parametrize("use", [evaluated, evaluated_lazily, planned, load_detector, search_adjustment])
def test_the_data_of_a_config_are_compared(tmp_path, registered, use):
    _, file = trained(tmp_path)
    cfg = small_config(**{"MODEL.LONG_TAIL.CALIBRATION.METHOD": "tau_norm"})
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = file, str(tmp_path / "output")
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (registered,)
    with pytest.raises(LtDetError, match=r"class 0 is 'eel'"):
        use(cfg)


@pytest.fixture
def registered(tmp_path):
    """A registered set of the same classes in another order, whose images are not on disk."""
    data = annotations()
    for category, name in zip(data["categories"], MOVED["reversed"], strict=True):
        category["name"] = name
    (tmp_path / "moved.json").write_text(json.dumps(data))
    register_dataset("moved", tmp_path / "moved.json", tmp_path)
    yield "moved"
    DatasetCatalog.remove("moved")
    MetadataCatalog.remove("moved")
