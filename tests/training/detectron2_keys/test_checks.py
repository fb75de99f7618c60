"""Keys that Detectron2's own tool would apply and nothing here can, and keys that torch or Detectron2 would ignore."""

import pickle

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig
from detectron2.engine import DefaultTrainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lt_det.config import num_classes_of
from lt_det.doctor.config_checks import examine_config
from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import LongTailTrainer, argument_parser, setup
from lt_det.training.config_loading import load_config
from lt_det.training.detectron2_keys.checks import check_detectron2_keys, warn_of_unused_lazy_keys
from lt_det.training.preflight import check_device, prepare_device
from tests.helpers import REPOSITORY

STOCK = ["MODEL.ROI_HEADS.NAME", "StandardROIHeads"]
FILES = ["MODEL.LOAD_PROPOSALS", "True", "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"]


@pytest.mark.parametrize(
    ("opts", "match"),
    [
        ([*STOCK, "MODEL.LONG_TAIL.CLASSIFIER", "cosine"], "CLASSIFIER is cosine"),
        ([*STOCK, "MODEL.LONG_TAIL.COSINE_SCALE", "20.0"], "COSINE_SCALE is 20"),
        ([*STOCK, "MODEL.LONG_TAIL.REWEIGHTING.START", "0"], "REWEIGHTING.START is 0"),
        (
            ["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.LONG_TAIL.CLASSIFIER", "cosine"],
            "CLASSIFIER is cosine, .*; set MODEL.META_ARCHITECTURE to GeneralizedRCNN, or",
        ),
        (["MODEL.META_ARCHITECTURE", "ProposalNetwork"], "ProposalNetwork .*DATASETS.TEST"),
        (["MODEL.META_ARCHITECTURE", "SemanticSegmentor"], "SemanticSegmentor .*DATASETS.TEST"),
        (["MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"], "LOAD_PROPOSALS is False"),
        (FILES, "PROPOSAL_FILES_TRAIN has 0 files for 1 dataset of"),
        ([*FILES, "DATASETS.PROPOSAL_FILES_TRAIN", "('gone.pkl',)"], "gone.pkl .*PROPOSAL_FILES_TRAIN"),
        (["DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler"], "DATALOADER.RANDOM_SUBSET_RATIO"),
        (["DATALOADER.SAMPLER_TRAIN", "WeightedTrainingSampler"], "DATASETS.TRAIN_REPEAT_FACTOR"),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR"], "last iteration.*WarmupMultiStepLR"),
        (["MODEL.META_ARCHITECTURE", "PanopticFPN"], r"MODEL\.MASK_ON is False"),
        ([*STOCK, "MODEL.ROI_BOX_HEAD.USE_FED_LOSS", "True"], "USE_SIGMOID_CE"),
        (
            [*STOCK, "MODEL.ROI_BOX_HEAD.USE_FED_LOSS", "True", "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", "True"],
            "no class counts of",
        ),
    ],
)
def test_what_nothing_would_apply_is_refused(small_config, opts, match):
    config = str(small_config())
    cfg = load_config(config, opts)
    with pytest.raises(LtDetError, match=match):
        check_detectron2_keys(cfg, training=True)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.MASK_ON", "True"], "MODEL.MASK_ON is True, but RetinaNet"),
        (["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.KEYPOINT_ON", "True"], "MODEL.KEYPOINT_ON is True, but"),
        (["MODEL.MASK_ON", "True"], ""),
        (["DATASETS.PROPOSAL_FILES_TRAIN", "('a.pkl',)"], "PROPOSAL_FILES_TRAIN names files, but"),
        (["MODEL.LOAD_PROPOSALS", "True", "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"], "its own proposals"),
    ],
)
def test_keys_that_detectron2_ignores_as_well_are_named(small_config, caplog, opts, words):
    check_detectron2_keys(load_config(str(small_config()), opts), training=True)
    assert words in caplog.text
    assert bool(words) == bool(caplog.records)


def test_doctor_and_training_refuse_the_same(small_config):
    config, opts = str(small_config()), [*STOCK, "MODEL.LONG_TAIL.CLASSIFIER", "cosine"]
    findings = [finding for finding in examine_config(config, opts) if finding.subject == "keys"]
    assert [finding.fatal for finding in findings] == [True]
    with pytest.raises(LtDetError, match="CLASSIFIER is cosine"):
        setup(argument_parser().parse_args(["--config", config, *opts]))


def test_keys_of_parts_that_the_network_lacks_are_left_alone(small_config):
    opts = ["MODEL.RETINANET.NUM_CLASSES", "3", "MODEL.SEM_SEG_HEAD.NAME", "none", "DATASETS.PROPOSAL_FILES_TRAIN"]
    check_detectron2_keys(load_config(str(small_config()), [*opts, "('gone.pkl',)"]), training=True)


def test_retinanet_has_its_own_number_of_classes(small_config):
    cfg = load_config(str(small_config()), ["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.NUM_CLASSES", "3"])
    key, number = num_classes_of(cfg)
    stats = ClassStats(("a", "b"), np.ones(2, dtype=np.int64), np.ones(2, dtype=np.int64), 1, "train.json")
    with pytest.raises(LtDetError, match="NUM_CLASSES is 3"):
        stats.check_num_classes(number, key)


def test_a_trainer_in_ones_own_script_refuses_keys_of_heads_it_lacks(small_config):
    cfg = load_config(str(small_config()), [*STOCK, "MODEL.LONG_TAIL.CLASSIFIER", "cosine"])
    with pytest.raises(LtDetError, match="CLASSIFIER is cosine"):
        LongTailTrainer(cfg)


def proposals_from_files(folder):
    """Boxes of the two images of `write_set`."""
    boxes = [np.array([[2, 2, 30, 40], [30, 3, 62, 44]], dtype=np.float32)] * 2
    content = {"boxes": boxes, "objectness_logits": [np.array([2.0, 1.0])] * 2, "ids": [1, 2], "bbox_mode": 0}
    file = folder / "proposals.pkl"
    file.write_bytes(pickle.dumps(content))
    return [*FILES, "DATASETS.PROPOSAL_FILES_TRAIN", f"('{file}',)", "DATASETS.PROPOSAL_FILES_TEST", f"('{file}',)"]


def retinanet(folder):
    return [
        *("MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.IN_FEATURES", "['p3']"),
        *("MODEL.RETINANET.NUM_CLASSES", "2", "MODEL.ROI_HEADS.NUM_CLASSES", "80"),
    ]


@pytest.mark.parametrize("network", [proposals_from_files, retinanet])
def test_networks_other_than_faster_rcnn_train_and_are_evaluated(small_config, tmp_path, network):
    words = ["--config", str(small_config()), *network(tmp_path)]
    trainer = LongTailTrainer(setup(argument_parser().parse_args(words)))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert trainer.iter == 1 + 1
    assert 0 <= trainer._last_eval_results["bbox"]["AP"] <= 100


def test_detectron2s_setup_applies_the_rest(small_config):
    before = torch.backends.cudnn.benchmark
    try:
        setup(argument_parser().parse_args(["--config", str(small_config()), "CUDNN_BENCHMARK", "True"]))
        assert torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = before


def test_vis_period_puts_images_into_tensorboard(small_config):
    cfg = load_config(str(small_config()), ["VIS_PERIOD", "1", "SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()"])
    LongTailTrainer(cfg).train()
    tags = EventAccumulator(cfg.OUTPUT_DIR).Reload().Tags()["images"]
    assert any("proposals" in tag for tag in tags)


@pytest.mark.parametrize("device", ["mps", "xpu", "hpu", "vulkan", "meta", "mkldnn", "cuda:99", "abacus", "cpu:-1", ""])
def test_a_device_that_is_not_there_is_refused(device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(LtDetError, match=device or "There is no device"):
        check_device(device)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_the_cpu_by_any_name(device, small_config):
    assert check_device(device) == "cpu"
    with pytest.raises(LtDetError, match="AMP"):
        prepare_device(device, torch.float16, 0)


def test_unused_keys_of_a_lazy_config_are_listed(caplog):
    cfg = LazyConfig.load(str(REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"))
    cfg.train.seed, cfg.train.cudnn_benchmark = 1, True
    warn_of_unused_lazy_keys(cfg.train)
    assert caplog.text == ""
    cfg.train.log_perod, cfg.train.amp.dtype = 5, "bfloat16"
    cfg.train.ema.rate, cfg.train.early_stopping = 0.9, None
    warn_of_unused_lazy_keys(cfg.train)
    assert "train.log_perod, train.amp.dtype, train.ema.rate of" in caplog.text


def test_detectron2s_trainer_fails_on_what_is_refused(small_config):
    """If Detectron2 learns to do it, this says that it need not be refused any longer."""
    opts = ["DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler"]
    with pytest.raises(AttributeError, match="RANDOM_SUBSET_RATIO"):
        DefaultTrainer.build_train_loader(load_config(str(small_config()), opts))
