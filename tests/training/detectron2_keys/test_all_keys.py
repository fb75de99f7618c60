"""Each key of Detectron2's config is read in a training of lt_det as in Detectron2's own tool, refused, or unused."""

import collections
import pickle
import subprocess
from pathlib import Path
from typing import ClassVar

import detectron2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator
from detectron2.modeling import GeneralizedRCNNWithTTA

from lt_det.config import add_keys
from lt_det.data import register_dataset
from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer
from lt_det.training.preflight import check_heads
from tests.helpers.detectron2_keys import OF_MAIN, PARTS, keys_of, leaves
from tests.helpers.keypoint_set import write_set

SMALL_RESNET = {
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
}
FPN_LEVELS = ["p2", "p3", "p4", "p5", "p6"]
FPN = {
    **SMALL_RESNET,
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.IN_FEATURES": FPN_LEVELS,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.ROI_HEADS.IN_FEATURES": FPN_LEVELS[:4],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
}
SCHEDULES = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")
# Networks by name: the overrides, the heads of Detectron2 and of lt_det, and the parts.
NETWORKS = {
    "FPN": (FPN, "StandardROIHeads", "LongTailROIHeads", "TWO_STAGES RPN BOX_HEAD RESNET FPN"),
    "cascade": (
        {**FPN, "MODEL.MASK_ON": True, "MODEL.KEYPOINT_ON": True, "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True},
        "CascadeROIHeads",
        "LongTailCascadeROIHeads",
        "TWO_STAGES RPN BOX_HEAD CASCADE MASKS KEYPOINTS RESNET FPN",
    ),
    "C4": (
        {
            "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
            "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
            "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
        },
        "Res5ROIHeads",
        "LongTailRes5ROIHeads",
        "TWO_STAGES RPN RESNET",
    ),
    "proposals from files": (
        {**FPN, "MODEL.LOAD_PROPOSALS": True, "MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals"},
        "StandardROIHeads",
        "LongTailROIHeads",
        "TWO_STAGES BOX_HEAD PROPOSAL_FILES RESNET FPN",
    ),
    "RetinaNet": (
        {
            **FPN,
            "MODEL.META_ARCHITECTURE": "RetinaNet",
            "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
            "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
            "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
            "MODEL.RETINANET.NUM_CLASSES": 2,
        },
        "StandardROIHeads",
        "StandardROIHeads",
        "RETINANET RESNET FPN",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A registered set, and proposals for its two images."""
    folder = tmp_path_factory.mktemp("keys")
    boxes = [np.array([[2, 2, 30, 40], [30, 3, 62, 44]], dtype=np.float32)] * 2
    proposals = {"boxes": boxes, "objectness_logits": [np.array([2.0, 1.0])] * 2, "ids": [1, 2], "bbox_mode": 0}
    (folder / "proposals.pkl").write_bytes(pickle.dumps(proposals))
    register_dataset("every_key", write_set(folder), folder)
    yield folder
    DatasetCatalog.remove("every_key")
    MetadataCatalog.remove("every_key")


def config(folder, overrides, heads):
    cfg = get_cfg()
    add_keys(cfg)
    file = str(folder / "proposals.pkl")
    common = {
        "MODEL.DEVICE": "cpu",
        "MODEL.ROI_HEADS.NAME": heads,
        "MODEL.ROI_HEADS.NUM_CLASSES": 2,
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 3,
        "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": (8,),
        "DATASETS.TRAIN": ("every_key",),
        "DATASETS.TEST": ("every_key",),
        "DATASETS.PROPOSAL_FILES_TRAIN": (file,),
        "DATASETS.PROPOSAL_FILES_TEST": (file,),
        "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.CROP.ENABLED": "Cascade" not in heads,  # its masks would need shapely
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.CLIP_GRADIENTS.ENABLED": True,
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "norm",
        "SOLVER.REFERENCE_WORLD_SIZE": 2,
        "TEST.PRECISE_BN.ENABLED": True,
        "TEST.EVAL_PERIOD": 2,
        "TEST.KEYPOINT_OKS_SIGMAS": [0.1, 0.1, 0.1],
        "TEST.RESAMPLES": 0,
        "MODEL.RESNETS.NORM": "BN",
        "OUTPUT_DIR": str(folder / "output"),
    }
    cfg.merge_from_list([word for item in {**common, **overrides}.items() for word in item])
    return cfg


class Recorded(CfgNode):
    """A config that counts how often each key is read, in all of its copies."""

    counts: ClassVar[collections.Counter[str]] = collections.Counter()

    def __getitem__(self, name):
        Recorded.counts[self.__dict__.get("_path", "") + name] += 1
        return super().__getitem__(name)

    def get(self, name, default=None):
        return self[name] if name in self else default  # noqa: SIM401


def recorded(node, path=""):
    items = {
        key: recorded(value, f"{path}{key}.") if isinstance(value, CfgNode) else value for key, value in node.items()
    }
    copied = Recorded()
    dict.update(copied, items)
    copied.__dict__["_path"] = path
    copied.__dict__[CfgNode.NEW_ALLOWED] = node.is_new_allowed()
    return copied


class StockTrainer(DefaultTrainer):
    """As in Detectron2's tools/train_net.py."""

    @classmethod
    def build_evaluator(cls, cfg, name, output_folder=None):
        return COCOEvaluator(name, output_dir=output_folder)

    @classmethod
    def test_with_TTA(cls, cfg, model):
        return cls.test(cfg, GeneralizedRCNNWithTTA(cfg, model))


def read_keys(trainer_class, cfg):
    """The keys that a training and an evaluation read, each of them up to its first image."""
    Recorded.counts.clear()
    cfg = recorded(cfg)
    trainer = trainer_class(cfg)
    trainer.build_test_loader(trainer.cfg, "every_key")
    trainer.build_evaluator(trainer.cfg, "every_key")
    for weight in trainer.model.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    trainer._trainer.optimizer.step()  # clips the gradients
    for schedule in SCHEDULES:
        trainer.cfg.SOLVER.LR_SCHEDULER_NAME = schedule
        trainer.build_lr_scheduler(trainer.cfg, trainer._trainer.optimizer)
    if trainer.cfg.TEST.AUG.ENABLED:
        GeneralizedRCNNWithTTA(trainer.cfg, trainer.model)
    return set(Recorded.counts)


def test_every_key_is_in_one_part():
    keys = [key for part in PARTS for key in keys_of(part)]
    twice = [key for key, count in collections.Counter(keys).items() if count > 1]
    assert twice == []
    of_detectron2 = set(leaves(get_cfg()))
    unknown = sorted(of_detectron2 - set(keys))
    assert unknown == [], f"Detectron2 has keys that tests/helpers/detectron2_keys.py does not list: {unknown}"
    assert set(keys) - of_detectron2 <= OF_MAIN


@pytest.mark.parametrize("network", NETWORKS)
def test_a_training_reads_what_detectron2s_reads(network, folder):
    overrides, stock, ours, parts = NETWORKS[network]
    augmented = {} if {"KEYPOINTS", "PROPOSAL_FILES", "RETINANET"} & set(parts.split()) else {"TEST.AUG.ENABLED": True}
    read = read_keys(LongTailTrainer, config(folder, {**overrides, **augmented}, ours))
    by_detectron2 = read_keys(StockTrainer, config(folder, {**overrides, **augmented}, stock))
    every = set(leaves(get_cfg()))
    assert sorted(every & by_detectron2 - read) == []
    # Not by an attribute of the config, or later than the first image: the training loop, and the augmented inference.
    elsewhere = {"MODEL.WEIGHTS", "TEST.EXPECTED_RESULTS", "FLOAT32_PRECISION"}
    elsewhere |= set() if augmented else {f"TEST.AUG.{key}" for key in ("MIN_SIZES", "MAX_SIZE", "FLIP")}
    elsewhere |= {"INPUT.CROP.SIZE", "INPUT.CROP.TYPE"} if network == "cascade" else set()  # see `config`
    for part in ("TRAINING", *parts.split()):
        assert sorted(set(keys_of(part)) & every - read - elsewhere) == [], part


def test_no_network_reads_what_is_listed_as_unread():
    source = Path(detectron2.__file__).parent
    for key in keys_of("UNREAD"):
        readers = subprocess.run(["grep", "-rl", f"cfg.{key}", str(source), "--include=*.py"], capture_output=True)
        assert readers.stdout == b"", key


@pytest.mark.parametrize("key", ["USE_SIGMOID_CE", "USE_FED_LOSS"])
def test_stock_losses_are_refused_in_heads_of_lt_det(key, folder):
    overrides, stock, ours, _ = NETWORKS["FPN"]
    with pytest.raises(LtDetError, match=key):
        check_heads(config(folder, {f"MODEL.ROI_BOX_HEAD.{key}": True}, ours))
    check_heads(config(folder, {**overrides, f"MODEL.ROI_BOX_HEAD.{key}": True}, stock))
