"""Settings without effect are named, unless they may come from a base config, or from a job that is restarted."""

import logging

import pytest
from detectron2.config import get_cfg
from detectron2.engine import default_argument_parser
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads

from lt_det.config import add_keys
from lt_det.training import load_config
from lt_det.training.config_files.without_effect import (
    doubtful_pixels,
    doubtful_rates,
    settings_without_effect,
    warn_of_cpu,
    warn_of_unused_keys,
    warn_of_unused_weights,
)
from lt_det.training.launch.options import argument_parser
from tests.helpers.configs import SEESAW


@pytest.fixture
def own_heads():
    """Registered for one test."""
    name = "HybridTaskROIHeads"
    ROI_HEADS_REGISTRY._do_register(name, StandardROIHeads)
    yield name
    del ROI_HEADS_REGISTRY._obj_map[name]


@pytest.mark.parametrize(
    ("key", "with_it"),
    [
        ("MODEL.LONG_TAIL.LOSS.FOCAL.GAMMA", ["MODEL.LONG_TAIL.LOSS.NAME", "focal"]),
        ("MODEL.ROI_MASK_HEAD.NUM_CONV", ["MODEL.MASK_ON", True]),
        ("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", ["MODEL.KEYPOINT_ON", True]),
        ("MODEL.RETINANET.NUM_CLASSES", ["MODEL.META_ARCHITECTURE", "RetinaNet"]),
        ("MODEL.TIMM.NAME", ["MODEL.BACKBONE.NAME", "build_timm_fpn_backbone"]),
        ("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", ["MODEL.ROI_HEADS.NAME", "LongTailCascadeROIHeads"]),
    ],
)
def test_keys_of_parts_that_the_network_lacks_are_named(key, with_it, own_heads, caplog):
    cfg = get_cfg()
    add_keys(cfg)
    used = ["SOLVER.BASE_LR", "MODEL.LONG_TAIL.LOSS.NAME", "MODEL.FPN.NORM"]
    warn_of_unused_keys(cfg, [*used, key])
    (record,) = caplog.records
    assert f"{key} has no effect" in record.getMessage()
    assert ("LOSS.NAME is softmax" in record.getMessage()) == (".LOSS." in key)
    caplog.clear()
    cfg.MODEL.ROI_HEADS.NAME = own_heads  # may read any key
    warn_of_unused_keys(cfg, [*used, key])
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.merge_from_list(with_it)
    warn_of_unused_keys(cfg, [*used, key])
    cfg.MODEL.META_ARCHITECTURE = "Mine"  # may read any key
    warn_of_unused_keys(cfg, ["MODEL.SEM_SEG_HEAD.NORM", "MODEL.ROI_MASK_HEAD.NORM"])
    assert not caplog.records


def test_a_threshold_without_its_sampler(tmp_path, caplog):
    def load(text, *opts):
        caplog.clear()
        (tmp_path / "config.yaml").write_text(text)
        load_config(str(tmp_path / "config.yaml"), opts)
        return [record.getMessage() for record in caplog.records if "REPEAT_THRESHOLD" in record.getMessage()]

    threshold, sampler = "DATALOADER.REPEAT_THRESHOLD", "DATALOADER.SAMPLER_TRAIN"
    assert "is 0.1, but the default" in load("DATALOADER:\n  REPEAT_THRESHOLD: 0.1\n")[0]
    assert "is 0.2, but the default" in load("VERSION: 2\n", threshold, "0.2")[0]
    assert not load("DATALOADER:\n  REPEAT_THRESHOLD: 0.0\n")
    # The baseline of a config that repeats images.
    assert not load("_BASE_: lt_det://lvis_eql_rfs\n", sampler, "TrainingSampler")
    assert not load("_BASE_: lt_det://lvis_eql_rfs\nDATALOADER:\n  SAMPLER_TRAIN: TrainingSampler\n")


COSINE = ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"]


@pytest.mark.parametrize(
    ("text", "opts", "named"),
    [
        ("SOLVER: {LR_SCHEDULER_NAME: WarmupCosineLR, STEPS: [60, 80]}", [], ["SOLVER.STEPS"]),
        ("VERSION: 2", [*COSINE, "SOLVER.GAMMA", "0.2"], ["SOLVER.GAMMA"]),
        ("VERSION: 2", ["SOLVER.BASE_LR_END", "0.001"], ["SOLVER.BASE_LR_END"]),
        ("DATASETS: {TEST: []}\nTEST: {EVAL_PERIOD: 50}", [], ["TEST.EVAL_PERIOD"]),
        ("SOLVER: {EMA: {DECAY: 0.9}}", ["INPUT.CROP.SIZE", "[0.5, 0.5]"], ["SOLVER.EMA.DECAY", "INPUT.CROP.SIZE"]),
        ("SOLVER: {CLIP_GRADIENTS: {CLIP_TYPE: norm, CLIP_VALUE: 1.0}}", [], ["SOLVER.CLIP_GRADIENTS.CLIP_TYPE"]),
        ("SOLVER: {CLIP_GRADIENTS: {ENABLED: True, NORM_TYPE: 1.0}}", [], ["SOLVER.CLIP_GRADIENTS.NORM_TYPE"]),
        # Keys of a base, switches that someone chose, and values that are none.
        ("VERSION: 2", COSINE, []),
        ("SOLVER: {STEPS: [60, 80]}", COSINE, []),
        ("SOLVER: {LR_SCHEDULER_NAME: WarmupCosineLR, STEPS: []}", [], []),
        ("SOLVER: {LR_SCHEDULER_NAME: Mine, STEPS: [60, 80], BASE_LR_END: 0.1}", [], []),
        ("SOLVER: {CLIP_GRADIENTS: {ENABLED: False, CLIP_VALUE: 1.0}}", [], []),
        ("INPUT: {CROP: {SIZE: [0.5, 0.5]}}", ["INPUT.CROP.ENABLED", "False"], []),
        ("INPUT: {CROP: {ENABLED: True, SIZE: [0.5, 0.5]}}", [], []),
        ("TEST: {EVAL_PERIOD: 50}", ["DATASETS.TEST", "()"], []),
        ("DATASETS: {TEST: []}", [], []),
        ("DATASETS: {TEST: []}\nTEST: {EVAL_PERIOD: 0}", [], []),
    ],
)
def test_settings_that_others_switch_off(text, opts, named, tmp_path):
    (tmp_path / "config.yaml").write_text(f"_BASE_: lt_det://coco_softmax\n{text}\n")
    found = list(of_file(tmp_path / "config.yaml", opts))
    assert len(found) == len(named)
    for key in named:
        assert any(key in clause and "no effect" in clause for clause in found)


def of_file(file, opts=()):
    places = {}
    cfg = load_config(str(file), opts, places=places)
    return settings_without_effect(cfg, file, places, opts)


def test_the_config_of_a_run_has_every_key(tmp_path):
    cfg = load_config(SEESAW, [*COSINE, "SOLVER.STEPS", "(30000,)"])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert not list(of_file(tmp_path / "config.yaml"))


@pytest.mark.parametrize(
    ("recorded", "training", "is_named"),
    [("first.pth", True, False), ("first.pth", False, True), ("other.pth", True, True), (None, True, True)],
)
def test_weights_of_a_job_that_is_restarted(tmp_path, caplog, recorded, training, is_named):
    (tmp_path / "model_0000009.pth").touch()
    if recorded is not None:
        (tmp_path / "config.yaml").write_text(f"MODEL:\n  WEIGHTS: {recorded}\n")
    with caplog.at_level(logging.WARNING):
        warn_of_unused_weights("MODEL.WEIGHTS", "first.pth", str(tmp_path), training=training)
    assert ("first.pth is not loaded" in caplog.text) == is_named


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["SOLVER.BASE_LR", "0.0"], "BASE_LR is 0"),
        (["SOLVER.MAX_ITER", "90", "SOLVER.WARMUP_ITERS", "90"], "WARMUP_ITERS is 90 and SOLVER.MAX_ITER 90"),
        (["SOLVER.MAX_ITER", "90", "SOLVER.WARMUP_ITERS", "89"], ""),
        (["SOLVER.MAX_ITER", "90", "SOLVER.WARMUP_ITERS", "90", "SOLVER.WARMUP_FACTOR", "1.0"], ""),  # no warm-up
    ],
)
def test_a_learning_rate_that_stays_below_base_lr(opts, words):
    found = list(doubtful_rates(load_config(SEESAW, opts)))
    assert len(found) == bool(words)
    assert words in "".join(found)


@pytest.mark.parametrize(
    ("mean", "std", "limit"),
    [
        ("[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.25]", "up to 1138"),
        ("[0.0, 0.0, 0.0]", "[0.5, 0.5, 0.5]", "up to 510"),
        ("[103.53, 116.28, 123.675]", "[1.0, 1.0, 1.0]", ""),
        ("[0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0]", ""),
        ("[0.0, 0.0, 0.0]", "[255.0, 255.0, 255.0]", ""),
    ],
)
def test_pixel_statistics_of_images_from_0_to_1(mean, std, limit):
    cfg = load_config(SEESAW, ["MODEL.PIXEL_MEAN", mean, "MODEL.PIXEL_STD", std])
    found = list(doubtful_pixels(cfg))
    assert len(found) == bool(limit)
    assert limit in "".join(found)
    assert not limit or "by 255" in found[0]


def test_gpus_for_a_training_on_the_cpu(caplog):
    parser = argument_parser()
    for words, device, is_named in (
        (["--num-gpus", "1"], "cpu", True),
        (["--num-gpus", "1"], "cuda", False),
        ([], "cpu", False),
        (["--num-processes", "1"], "cpu", False),
    ):
        caplog.clear()
        warn_of_cpu(parser.parse_args(["--config", SEESAW, *words]), device)
        assert ("--num-gpus is 1, but the device is cpu" in caplog.text) == is_named
    warn_of_cpu(default_argument_parser().parse_args([]), "cpu")  # Detectron2's default is 1
    assert not caplog.text
