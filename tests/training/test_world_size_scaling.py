"""SOLVER.REFERENCE_WORLD_SIZE in the trainer, over gloo."""

import functools
import json

import pytest
from detectron2.config import get_cfg

import lt_det
from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer, load_config
from lt_det.training.world_size_scaling import scaled_to_processes, scaling_line
from tests.helpers.gloo import in_processes
from tests.helpers.streamed import images_taken, train


def config(**solver):
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.IMS_PER_BATCH = 8, 16
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 1000, (600,)
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    return cfg


@pytest.mark.parametrize(
    ("start", "scaled"),
    [(None, None), (0.5, 0.5), ("first_lr_step",) * 2, (600, 2400), ("600", 2400), (0, 0), ([600], [600])],
)
def test_starts_scale_with_the_schedule(start, scaled):
    cfg = config()
    cfg.MODEL.LONG_TAIL.REWEIGHTING.START = cfg.DATALOADER.SAMPLER_START = start
    cfg.freeze()
    on_two = scaled_to_processes(cfg, 2)
    assert on_two.MODEL.LONG_TAIL.REWEIGHTING.START == on_two.DATALOADER.SAMPLER_START == scaled
    assert (on_two.SOLVER.MAX_ITER, on_two.SOLVER.STEPS, on_two.is_frozen()) == (4000, (2400,), True)
    assert cfg.SOLVER.MAX_ITER == 1000  # what was written stays
    assert scaled_to_processes(on_two, 2) is on_two


def test_periods_stay_periods():
    """Detectron2 rounds a period of one iteration for eight processes to 0 for 64."""
    cfg = config(CHECKPOINT_PERIOD=1)
    cfg.TEST.EVAL_PERIOD = 3
    on_64 = scaled_to_processes(cfg, 64)
    assert (on_64.SOLVER.CHECKPOINT_PERIOD, on_64.TEST.EVAL_PERIOD) == (1, 1)
    cfg.TEST.EVAL_PERIOD = 0  # never
    assert scaled_to_processes(cfg, 64).TEST.EVAL_PERIOD == 0


def test_line():
    cfg = config()
    cfg.DATALOADER.SAMPLER_START = 600
    assert scaling_line(cfg, scaled_to_processes(cfg, 16)) == (
        "Scaled by SOLVER.REFERENCE_WORLD_SIZE, 8 -> 16 processes: SOLVER.IMS_PER_BATCH 16 -> 32, SOLVER.BASE_LR "
        "0.001 -> 0.002, SOLVER.WARMUP_ITERS 1000 -> 500, SOLVER.STEPS (600,) -> (300,), SOLVER.MAX_ITER 1000 -> 500, "
        "SOLVER.CHECKPOINT_PERIOD 5000 -> 2500, DATALOADER.SAMPLER_START 600 -> 300."
    )


@pytest.mark.parametrize("reference", [3, -8])
def test_reference_that_cannot_be(reference):
    with pytest.raises(LtDetError, match=f"REFERENCE_WORLD_SIZE is {reference}, but a batch of 16 images"):
        scaled_to_processes(config(REFERENCE_WORLD_SIZE=reference), 2)


def test_two_processes_train_the_schedule_of_one(sixty_config, tmp_path):
    """Six images for one process become twelve, 14 iterations seven; re-sampling begins with the third."""
    overrides = ["SOLVER.REFERENCE_WORLD_SIZE", 1, "SOLVER.BASE_LR", 0.01, "SOLVER.WARMUP_ITERS", 0]
    overrides += ["DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler", "DATALOADER.SAMPLER_START", 4]
    in_processes(2, tmp_path, functools.partial(train, sixty_config, tmp_path, *overrides))
    taken = images_taken(tmp_path)
    assert [len(images) for images in taken] == [12] * 7
    assert len(set(taken[0] + taken[1])) == 24  # one epoch has each image once
    assert len({image for images in taken[2:] for image in images}) < 60  # five times twelve, no epoch any more
    metrics = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert (metrics["iteration"], metrics["lr"]) == (6, pytest.approx(0.002))  # STEPS [9] is past


def test_batch_is_checked_as_it_will_be(sixty_config, tmp_path):
    """A batch of six for three processes is one of two for one, in four passes."""
    overrides = ["OUTPUT_DIR", str(tmp_path), "SOLVER.REFERENCE_WORLD_SIZE", "3", "SOLVER.ACCUMULATE", "4"]
    said = "IMS_PER_BATCH is 6, .*REFERENCE_WORLD_SIZE 3 .* 2 for 1 process:.*a multiple of 12"
    with pytest.raises(LtDetError, match=said):
        LongTailTrainer(load_config(str(sixty_config), overrides))
