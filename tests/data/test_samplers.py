"""Deferred re-sampling."""

import itertools

import pytest
from detectron2.config import get_cfg
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler

import lt_det
from lt_det.config import resampling_start
from lt_det.data import register_dataset
from lt_det.data.samplers import DeferredSampler, resume_deferred_sampler
from lt_det.engine import LongTailTrainer
from lt_det.errors import LtDetError


def take(sampler, n):
    return list(itertools.islice(sampler, n))


def test_switches_after_so_many_indices():
    sampler = DeferredSampler(itertools.repeat(1), itertools.repeat(2), 3)
    assert take(sampler, 5) == [1, 1, 1, 2, 2]
    sampler.position = 2
    assert take(sampler, 3) == [1, 2, 2]
    sampler.position = 7
    assert take(sampler, 2) == [2, 2]


@pytest.fixture(scope="module")
def train(mini):
    register_dataset("sampler_train", mini.train_json, mini.image_root)
    return "sampler_train"


def config(train, **loader):
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    cfg.DATASETS.TRAIN = (train,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.REPEAT_THRESHOLD = 0.5
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.IMS_PER_BATCH = 10, (6,), 2
    for key, value in loader.items():
        cfg.DATALOADER[key] = value
    return cfg


def deferred_sampler(loader):
    while not isinstance(getattr(loader, "sampler", None), DeferredSampler):
        loader = loader.dataset
    return loader.sampler


@pytest.mark.parametrize("grouping", [True, False])
def test_trainer_defers_the_configured_sampler(train, grouping):
    cfg = config(
        train,
        SAMPLER_TRAIN="RepeatFactorTrainingSampler",
        SAMPLER_START="first_lr_step",
        ASPECT_RATIO_GROUPING=grouping,
    )
    loader = LongTailTrainer.build_train_loader(cfg)
    sampler = deferred_sampler(loader)
    assert isinstance(sampler.first, TrainingSampler)
    assert isinstance(sampler.then, RepeatFactorTrainingSampler)
    assert sampler.switch_after == 12
    resume_deferred_sampler(loader, 8)
    assert sampler.position == 8
    assert len(next(iter(loader))) == 2


def test_start_zero_is_detectron2s_sampler(train):
    loader = LongTailTrainer.build_train_loader(config(train, SAMPLER_TRAIN="RepeatFactorTrainingSampler"))
    with pytest.raises(AttributeError):
        deferred_sampler(loader)
    resume_deferred_sampler(loader, 8)  # nothing to tell


@pytest.mark.parametrize(("start", "share"), [(None, None), (0, 0.0), ("first_lr_step", 0.6), (0.5, 0.5), (7, 0.7)])
def test_start_by_config(train, start, share):
    assert resampling_start(config(train, SAMPLER_START=start, SAMPLER_TRAIN="RepeatFactorTrainingSampler")) == share


def test_nothing_to_defer(train):
    with pytest.raises(LtDetError, match="but that is the plain TrainingSampler"):
        resampling_start(config(train, SAMPLER_START=0.5))


@pytest.mark.parametrize("start", ["never", -1, 10, 11])
def test_start_that_is_no_point_of_the_training(train, start):
    with pytest.raises(LtDetError, match=r"DATALOADER.SAMPLER_START is .*; write first_lr_step, a share"):
        resampling_start(config(train, SAMPLER_START=start, SAMPLER_TRAIN="RepeatFactorTrainingSampler"))
