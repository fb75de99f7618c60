"""A resumed training says what has changed in its config."""

import logging
import re

import pytest
import torch
from detectron2.config import LazyConfig

from lt_det.training import argument_parser, load_lazy_config, setup
from lt_det.training.resume.changed_keys import changed_keys_logged
from lt_det.training.resume.seed_passes import SeedPasses
from tests.helpers import REPOSITORY


def said_when_resumed(config, folder, *overrides, checkpoint="model_0000001.pth"):
    """What the log of a training that was interrupted says of changed keys: its levels and texts."""
    arguments = ["--config", str(config), "--resume", "OUTPUT_DIR", str(folder)]
    setup(argument_parser().parse_args(arguments))
    (folder / checkpoint).touch()
    setup(argument_parser().parse_args([*arguments, *overrides]))
    return re.findall(r"resume\.changed_keys (\w+): (.*)", (folder / "log.txt").read_text())


def test_changed_keys_are_listed_once(sixty_config, tmp_path):
    ((level, said),) = said_when_resumed(
        sixty_config, tmp_path, "SOLVER.MAX_ITER", "99", "TEST.EVAL_PERIOD", "5", "SOLVER.BASE_LR", "0.5"
    )
    assert level == "INFO"
    assert "SOLVER.MAX_ITER is 99 and was " in said
    assert "TEST.EVAL_PERIOD is 5 and was 400" in said
    assert "BASE_LR" not in said  # the checkpoint's applies, which another message says


@pytest.mark.parametrize(("seed", "warns"), [(123, True), (5, False), (-1, False)])
def test_a_new_seed_has_no_effect(seed, warns, caplog):
    """Each time that it is resumed with it: the checkpoint knows the seed, and config.yaml the last one asked for."""
    for _ in range(2):
        caplog.clear()
        passes = SeedPasses(torch.nn.Identity(), seed)
        passes.load_state_dict({"seed": 5})
        assert passes.state_dict() == {"seed": 5}
        assert [record.levelname for record in caplog.records] == ["WARNING"] * warns
        assert caplog.text.count(f"SEED {seed} (LazyConfig: train.seed) has no effect: ") == warns
        assert caplog.text.count("whose seed is 5;") == warns


@pytest.mark.parametrize(
    ("key", "value"), [("SOLVER.IMS_PER_BATCH", "1"), ("DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler")]
)
def test_what_moves_the_stream_of_images_is_a_warning(sixty_config, tmp_path, key, value):
    ((level, said),) = said_when_resumed(sixty_config, tmp_path, key, value)
    assert level == "WARNING"
    assert said.startswith(f"{key} is {value} and was ")


@pytest.mark.parametrize(("checkpoint", "key"), [("model_0000001.pth", "SEED"), ("notes.txt", "SOLVER.MAX_ITER")])
def test_nothing_is_said_of_equal_configs_and_of_first_starts(sixty_config, tmp_path, checkpoint, key):
    value = "-1" if key == "SEED" else "99"
    assert said_when_resumed(sixty_config, tmp_path, key, value, checkpoint=checkpoint) == []


def test_a_lazy_config(tmp_path, caplog):
    config = str(REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py")
    LazyConfig.save(load_lazy_config(config), str(tmp_path / "config.yaml"))
    with caplog.at_level(logging.INFO), changed_keys_logged(tmp_path):
        words = ["train.seed=5", "train.max_iter=9", "dataloader.train.total_batch_size=3", "optimizer.lr=1"]
        LazyConfig.save(load_lazy_config(config, words), str(tmp_path / "config.yaml"))
    batch, others = (record.getMessage() for record in caplog.records)
    assert batch.startswith("dataloader.train.total_batch_size is 3 and was ")
    assert others.endswith("was written: train.max_iter is 9 and was 800.")
