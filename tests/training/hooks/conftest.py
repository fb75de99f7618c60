"""Small trainings whose evaluations give the metrics that a test wants."""

import json

import pytest

from lt_det.training import LongTailTrainer, load_config
from tests.helpers import REPOSITORY, first_images
from tests.helpers.configs import RANDOM_TRAINING


@pytest.fixture(scope="session")
def hooks_config(mini, tmp_path_factory):
    """60 images to train on, of which a step takes four, and six to evaluate."""
    folder = tmp_path_factory.mktemp("hooks")
    for name, json_file, number in (("train", mini.train_json, 60), ("val", mini.val_json, 6)):
        (folder / f"{name}.json").write_text(json.dumps(first_images(json_file, number)))
    file = folder / "config.yaml"
    file.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_eql.yaml
DATASETS:
  REGISTER:
    hooks_train: {{JSON: {folder}/train.json, IMAGES: {mini.image_root}}}
    hooks_val: {{JSON: {folder}/val.json, IMAGES: {mini.image_root}}}
  TRAIN: ("hooks_train",)
  TEST: ("hooks_val",)
MODEL: {{ROI_HEADS: {{NUM_CLASSES: 12}}}}
DATALOADER: {{NUM_WORKERS: 0, REPEAT_THRESHOLD: 0.3}}
INPUT: {{MIN_SIZE_TEST: 32}}
TEST: {{EVAL_PERIOD: 2, RESAMPLES: 0}}
SEED: 0
""")
    return file


@pytest.fixture
def config(hooks_config, tmp_path):
    """A function that makes a config of six iterations with evaluations after every second one."""

    def config(*overrides):
        words = [*RANDOM_TRAINING, "SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.STEPS", "()"]
        return load_config(str(hooks_config), [*words, "OUTPUT_DIR", str(tmp_path), *map(str, overrides)])

    return config


class ScriptedTrainer(LongTailTrainer):
    """Each evaluation gives the next of `values` as bbox/AP, without looking at an image."""

    values = ()

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {"bbox": {"AP": next(cls.values), "APr": 1.0, "APc": 2.0}}


@pytest.fixture
def scripted():
    """A function that trains with a config and scripted values of bbox/AP; returns the trainer."""

    def train(cfg, *values, resume=False):
        kind = type("Trainer", (ScriptedTrainer,), {"values": iter(values)})
        trainer = kind(cfg)
        trainer.resume_or_load(resume=resume)
        trainer.train()
        return trainer

    return train
