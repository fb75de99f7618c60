"""A tiny model with random weights that detects something."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from lt_det.datasets.mini_lvis.generate import MiniLvis
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import LongTailCheckpointer, load_config
from tests.helpers.configs import SEESAW


@pytest.fixture(scope="session")
def weights(mini: MiniLvis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for SEESAW with 12 classes, beside its class counts, as training writes them."""
    folder = tmp_path_factory.mktemp("weights")
    stats = ClassStats.from_json(mini.train_json)
    stats.save(folder / "class_stats.json")
    opts = ["MODEL.ROI_HEADS.NUM_CLASSES", "12", "MODEL.LONG_TAIL.CLASS_STATS", str(folder / "class_stats.json")]
    torch.manual_seed(0)
    model = build_model(load_config(SEESAW, opts))
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight)
    LongTailCheckpointer(model, str(folder)).save("model_final")
    return folder / "model_final.pth"
