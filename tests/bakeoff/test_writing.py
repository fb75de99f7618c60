"""A written detector is an ordinary checkpoint and config, and has the metrics that the bake-off's table says."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lt_det.bakeoff.detector import ClassifierStates, detector_config
from lt_det.bakeoff.scoring import Scorer
from lt_det.bakeoff.writing import evaluate_written, write_detector
from lt_det.errors import LtDetError
from lt_det.inference import TrainedDetector, load_trained_config
from lt_det.training import LongTailCheckpointer, LongTailTrainer, load_config
from lt_det.training.preflight import training_stats_of
from tests.helpers import REPOSITORY, assert_same
from tests.helpers.proposals import (
    VAL,
    changed_config,
    random_classifiers,
    random_detector,
    record_proposals,
    write_config,
)

LOSS = "MODEL.LONG_TAIL.LOSS.NAME"
HEADS = "MODEL.ROI_HEADS.NAME"


@pytest.fixture(scope="module")
def config(mini, tmp_path_factory):
    return write_config(mini, tmp_path_factory.mktemp("written"), 12)


@pytest.fixture(scope="module")
def softmax(config, tmp_path_factory):
    """A detector, the config of a candidate, and the candidate's classifiers."""
    cfg = random_detector(config, tmp_path_factory.mktemp("softmax"))
    candidate = changed_config(cfg, LOSS, "seesaw")
    own = Scorer(cfg, record_proposals(cfg, VAL), VAL).predictors
    return cfg, candidate, random_classifiers(own, candidate)


def weights_of(path):
    return torch.load(path)["model"]


@pytest.mark.parametrize(
    ("overrides", "candidate"),
    [
        (["MODEL.MASK_ON", "True"], [LOSS, "seesaw"]),
        ([HEADS, "LongTailCascadeROIHeads"], [LOSS, "ldam"]),
        ([HEADS, "CascadeROIHeads"], [LOSS, "eqlv2"]),
        ([HEADS, "StandardROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "False"], [LOSS, "eql"]),
        ([LOSS, "seesaw"], [LOSS, "softmax", "MODEL.LONG_TAIL.CLASSIFIER", "scaled"]),
        ([], [LOSS, "ib", "MODEL.LONG_TAIL.REWEIGHTING.START", 0.5]),
        ([HEADS, "CascadeROIHeads"], ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.05, "TEST.DETECTIONS_PER_IMAGE", 40]),
        ([], ["MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.9, "TEST.DETECTIONS_PER_IMAGE", 30]),
    ],
    ids=lambda overrides: "-".join(map(str, overrides[1::2])),
)
def test_the_written_detector_has_the_metrics_of_the_table(config, tmp_path, overrides, candidate):
    cfg = random_detector(config, tmp_path, *overrides)
    scorer = Scorer(cfg, record_proposals(cfg, VAL), VAL, stats=training_stats_of(cfg))
    changed = changed_config(cfg, *candidate)
    trained = random_classifiers(scorer.predictors, changed)
    table = scorer.evaluate(changed, trained).metrics["bbox"]
    assert table["AP"] > 0

    written = write_detector(cfg, changed, trained, tmp_path / "out")
    metrics = evaluate_written(written, VAL)
    np.testing.assert_equal(metrics["bbox"], table)
    assert ("segm" in metrics) == cfg.MODEL.MASK_ON

    assert (tmp_path / "out" / "class_stats.json").is_file()
    before, after = weights_of(cfg.MODEL.WEIGHTS), weights_of(tmp_path / "out" / "model_final.pth")
    kept = [name for name in before if ".cls_score." not in name and ".loss." not in name]
    assert len(kept) > 10
    assert_same({name: after[name] for name in kept}, {name: before[name] for name in kept})


@pytest.mark.slow
def test_a_real_evaluation_a_prediction_and_a_fine_tuning_take_it(softmax, tmp_path):
    cfg, candidate, trained = softmax
    table = Scorer(cfg, record_proposals(cfg, VAL), VAL, stats=training_stats_of(cfg)).evaluate(candidate, trained)
    written = write_detector(cfg, candidate, trained, tmp_path / "out")
    tool = [sys.executable, "-W", "ignore", REPOSITORY / "tools" / "train_net.py", "--eval-only", "--config", written]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    evaluated = subprocess.run(tool, env=environment, capture_output=True, text=True)
    assert evaluated.returncode == 0, evaluated.stderr
    evaluation = json.loads((tmp_path / "out" / "inference" / VAL / "evaluation.json").read_text())
    assert evaluation["tasks"]["bbox"]["metrics"] == table.evaluation.tasks["bbox"].metrics
    assert (tmp_path / "out" / "report").is_dir()

    detector = TrainedDetector(load_trained_config(str(written)))  # what demo and export start from
    assert len(detector(np.zeros((96, 96, 3), dtype=np.uint8)).scores)

    options = ["SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()", "SOLVER.IMS_PER_BATCH", "2", "TEST.EVAL_PERIOD", "0"]
    tuning = load_config(str(written), [*options, "OUTPUT_DIR", str(tmp_path / "tuned"), "DATASETS.TEST", "()"])
    trainer = LongTailTrainer(tuning)
    trainer.resume_or_load(resume=False)
    classifier = trainer.model.roi_heads.box_predictor.cls_score
    assert_same(classifier.state_dict(), trained.classifiers[0])
    trainer.train()
    assert (tmp_path / "tuned" / "model_final.pth").is_file()


def test_the_detector_of_a_decoupled_training_is_written_without_it(config, tmp_path):
    """Its keys would make a fine-tuning train the classifier alone."""
    method = "MODEL.LONG_TAIL.SECOND_STAGE.METHOD"
    cfg = random_detector(config, tmp_path, method, "lws")
    scorer = Scorer(cfg, record_proposals(cfg, VAL), VAL, stats=training_stats_of(cfg))
    written = write_detector(cfg, detector_config(cfg), scorer.detector(), tmp_path / "out")
    result = load_config(str(written))
    assert result.MODEL.LONG_TAIL.SECOND_STAGE.METHOD == ""
    assert result.MODEL.LONG_TAIL.CLASSIFIER == "scaled"
    np.testing.assert_equal(evaluate_written(written, VAL)["bbox"], LongTailTrainer.evaluate(cfg)["bbox"])


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interruption_leaves_the_files_as_they_were(softmax, tmp_path, monkeypatch):
    cfg, candidate, trained = softmax
    out = tmp_path / "out"
    write_detector(cfg, candidate, trained, out)
    before = files(out)
    save = LongTailCheckpointer.save

    def interrupted(checkpointer, name):
        save(checkpointer, name)
        raise KeyboardInterrupt

    other = ClassifierStates([{name: value + 1 for name, value in trained.classifiers[0].items()}], trained.losses)
    monkeypatch.setattr(LongTailCheckpointer, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_detector(cfg, candidate, other, out)
    assert files(out) == before
    monkeypatch.undo()
    write_detector(cfg, candidate, other, out)  # an earlier detector is replaced
    assert list(files(out)) == list(before)
    assert files(out) != before


def test_a_full_disk_leaves_nothing(softmax, small_disk):
    with pytest.raises(LtDetError, match=r"model_final\.pth cannot be written"):
        write_detector(*softmax, small_disk)
    assert list(small_disk.iterdir()) == []


def test_a_folder_whose_config_belongs_to_another_checkpoint_is_refused(softmax, tmp_path):
    cfg, candidate, trained = softmax
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    for folder in (tmp_path, type(tmp_path)(cfg.OUTPUT_DIR)):
        with pytest.raises(LtDetError, match="folder of a training"):
            write_detector(cfg, candidate, trained, folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_ldam.pth").write_text("precious")
    with pytest.raises(LtDetError, match=r"holds model_ldam\.pth"):
        write_detector(cfg, candidate, trained, other)
    assert [path.name for path in other.iterdir()] == ["model_ldam.pth"]
