"""TEST.AUG, as in Detectron2's own training tool."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.utils import comm

from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.evaluation.schema import read_evaluations
from lt_det.training import LongTailTrainer, argument_parser, equip
from lt_det.training.config_loading import load_config
from lt_det.training.detectron2_keys.checks import check_detectron2_keys
from lt_det.training.detectron2_keys.test_time_augmentation import check_augmentation
from lt_det.training.launch import programs
from lt_det.training.preemption import EvalUnlessStopped, StopOnInterrupt
from tests.helpers.gloo import in_processes

AUGMENTED = ["TEST.AUG.ENABLED", "True"]
SEESAW = ["MODEL.LONG_TAIL.LOSS.NAME", "seesaw"]


def trained(cfg):
    trainer = LongTailTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer


def numbers(metrics):
    return {name: None if np.isnan(value) else value for name, value in metrics.items()}


@pytest.mark.parametrize(
    ("heads", "more"),
    [
        ("LongTailROIHeads", ["MODEL.MASK_ON", "True"]),
        ("LongTailCascadeROIHeads", ["MODEL.MASK_ON", "True"]),
        (
            "LongTailROIHeads",
            ["MODEL.LONG_TAIL.LOSS.NAME", "seesaw", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "False"],
        ),
        ("StandardROIHeads", []),
    ],
)
def test_the_end_of_training_evaluates_as_detectron2_augments(small_config, heads, more):
    cfg = load_config(str(small_config()), ["MODEL.ROI_HEADS.NAME", heads, *AUGMENTED, *more])
    trainer = trained(cfg)
    plain, augmented = trainer._last_eval_results["bbox"], trainer._last_eval_results["bbox_TTA"]
    name = cfg.DATASETS.TEST[0]
    expected = inference_on_dataset(
        GeneralizedRCNNWithTTA(cfg, trainer.model),
        LongTailTrainer.build_test_loader(cfg, name),
        LongTailEvaluator.from_config(cfg, name, f"{cfg.OUTPUT_DIR}/expected"),
    )
    assert numbers(augmented) == numbers(expected["bbox"])
    output = Path(cfg.OUTPUT_DIR)
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert [line["bbox_TTA/AP"] for line in lines if "bbox_TTA/AP" in line] == [augmented["AP"]]
    evaluations = [read_evaluations(folder)[name] for folder in (output, output / "inference_TTA")]
    aps = [evaluation.tasks["bbox"].metrics["AP"] for evaluation in evaluations]
    assert aps == pytest.approx([plain["AP"], augmented["AP"]])
    assert ("segm_TTA" in trainer._last_eval_results) == cfg.MODEL.MASK_ON


def test_an_image_without_detections_has_no_masks_to_average(small_config):
    cfg = load_config(
        str(small_config()), [*AUGMENTED, "MODEL.MASK_ON", "True", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0"]
    )
    assert trained(cfg)._last_eval_results["segm_TTA"]["AP"] == 0


def evaluate(config, weights):
    """In one process, or in each of several."""
    cfg = load_config(config, ["MODEL.WEIGHTS", weights, "MODEL.MASK_ON", "True", *AUGMENTED])
    results = LongTailTrainer.evaluate(cfg)
    assert sorted(results) == (["bbox", "bbox_TTA", "segm", "segm_TTA"] if comm.is_main_process() else [])


def write_weights(cfg, folder):
    file = folder / "weights.pth"
    torch.save({"model": LongTailTrainer.build_model(cfg).state_dict()}, file)
    return str(file)


def test_two_processes_evaluate_as_one(small_config, tmp_path):
    config = small_config()
    cfg = load_config(str(config), ["MODEL.MASK_ON", "True"])
    weights, output = write_weights(cfg, tmp_path), Path(cfg.OUTPUT_DIR)
    tasks = []
    for in_two in (False, True):
        if in_two:
            in_processes(2, tmp_path, evaluate, str(config), weights)
        else:
            evaluate(str(config), weights)
        evaluations = [read_evaluations(folder)[cfg.DATASETS.TEST[0]] for folder in (output, output / "inference_TTA")]
        tasks.append([evaluation.to_dict()["tasks"] for evaluation in evaluations])
        assert tasks[-1][0] != tasks[-1][1]
    assert tasks[0] == tasks[1]


def test_eval_only_verifies_and_reports_both(small_config, tmp_path, monkeypatch):
    reported = []

    def record(folder):
        reported.append(str(folder))
        return Path(folder) / "report.md"

    monkeypatch.setattr(programs, "write_report", record)
    config = str(small_config())
    cfg = load_config(config)
    words = ["--config", config, "--eval-only", "MODEL.WEIGHTS", write_weights(cfg, tmp_path), *AUGMENTED]
    programs.train_yaml(argument_parser().parse_args([*words, "TEST.EXPECTED_RESULTS", "[['bbox_TTA', 'AP', 50, 50]]"]))
    assert sorted(reported) == [cfg.OUTPUT_DIR, f"{cfg.OUTPUT_DIR}/inference_TTA"]
    with pytest.raises(SystemExit):
        programs.train_yaml(
            argument_parser().parse_args([*words, "TEST.EXPECTED_RESULTS", "[['bbox_TTA', 'AP', -1, 0.5]]"])
        )


def test_results_can_be_expected_of_the_augmented_evaluation(small_config):
    expected = "[['bbox', 'AP', 0.0, 100.0], ['bbox_TTA', 'AP', 0.0, 100.0]]"
    cfg = load_config(str(small_config()), [*AUGMENTED, "TEST.EXPECTED_RESULTS", expected])
    trained(cfg)
    cfg.TEST.EXPECTED_RESULTS = [["bbox_TTA", "AP", -1.0, 0.5]]
    with pytest.raises(SystemExit):
        trained(cfg)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.KEYPOINT_ON", True),
        ("MODEL.LOAD_PROPOSALS", True),
        ("MODEL.META_ARCHITECTURE", "RetinaNet"),
        ("MODEL.META_ARCHITECTURE", "PanopticFPN"),
        ("MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator"),
        ("TEST.AUG.MIN_SIZES", ()),
        ("TEST.AUG.MIN_SIZES", (0,)),
        ("TEST.AUG.MAX_SIZE", -1),
    ],
)
def test_what_cannot_be_augmented_is_refused(small_config, key, value):
    cfg = load_config(str(small_config()), [key, value])
    check_augmentation(cfg)  # off
    cfg.TEST.AUG.ENABLED = True
    with pytest.raises(LtDetError, match=key.split(".")[-1]):
        check_detectron2_keys(cfg, training=True)


def test_a_trainer_whose_evaluator_takes_no_folder_is_refused(small_config):
    class Trainer(DefaultTrainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            return LongTailEvaluator.from_config(cfg, dataset_name)

    cfg = load_config(str(small_config()), AUGMENTED)
    with pytest.raises(LtDetError, match="output_folder"):
        equip(Trainer)(cfg)
    with pytest.raises(LtDetError, match="output_folder"):
        equip(Trainer).evaluate(cfg)


def test_a_users_own_method_is_left_to_the_users_script(small_config, caplog):
    """Detectron2's tool registers a hook that calls it; ours would evaluate a second time."""
    calls = []

    class Trainer(DefaultTrainer):
        @classmethod
        def test_with_TTA(cls, cfg, model):
            calls.append(model)
            return {}

    cfg = load_config(str(small_config()), AUGMENTED)
    trainer = equip(Trainer)(cfg)
    trainer.train()
    assert calls == []
    assert "Trainer.test_with_TTA" in caplog.text
    cfg.MODEL.WEIGHTS = f"{cfg.OUTPUT_DIR}/model_final.pth"
    equip(Trainer).evaluate(cfg)
    assert len(calls) == 1
    assert isinstance(calls[0], torch.nn.Module)


def test_a_stop_in_the_plain_evaluation_leaves_out_the_augmented_one():
    stop = StopOnInterrupt(None)
    stop._interrupted_by = signal.SIGTERM
    hook = EvalUnlessStopped(0, pytest.fail)
    hook.trainer = SimpleNamespace(_hooks=[stop], iter=1, max_iter=1)
    hook.after_train()
