"""Proposal files, which Detectron2 unpickles: arrays are read, programs are not."""

import pickle

import numpy as np
import pytest
from detectron2.data import build
from detectron2.structures import BoxMode

from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer
from tests.helpers.frozen_detector import NUM_VAL, load, write_detector
from tests.helpers.hostile import Program


@pytest.mark.parametrize("box_mode", [BoxMode.XYXY_ABS, BoxMode.XYXY_ABS.value])
def test_arrays_are_read_and_programs_refused(tmp_path, monkeypatch, box_mode):
    monkeypatch.setattr(build, "pickle", build.pickle)  # to be restored
    config, file, created = write_detector(tmp_path), tmp_path / "proposals.pkl", tmp_path / "created"
    boxes = np.array([[0, 0, 10, 20], [5, 5, 30, 30]], dtype=np.float32)
    content = {
        "ids": [10 + index for index in range(NUM_VAL)],
        "boxes": [boxes] * NUM_VAL,
        "objectness_logits": [np.array([1.0, 2.0], dtype=np.float32)] * NUM_VAL,
        "bbox_mode": box_mode,
    }
    options = ["MODEL.LOAD_PROPOSALS", "True", "DATASETS.PROPOSAL_FILES_TEST", f"('{file}',)"]
    options += ["MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"]
    cfg = load(config, *options)
    file.write_bytes(pickle.dumps(content, 2))
    (record,) = next(iter(LongTailTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    assert record["proposals"].objectness_logits.tolist() == [2, 1]
    file.write_bytes(pickle.dumps({**content, "program": Program(created)}, 2))
    with pytest.raises(LtDetError, match=r"proposals\.pkl cannot be read .*posix\.system"):
        LongTailTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])
    assert not created.exists()
