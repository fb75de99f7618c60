"""A sampler of a user's own by name: as docs/samplers.md writes it."""

import itertools

import pytest
from detectron2.config import get_cfg
from detectron2.data.samplers import TrainingSampler

import lt_det
from lt_det.compat.detectron2 import image_source
from lt_det.data import register_dataset, register_sampler
from lt_det.data.loader import build_train_loader
from lt_det.data.sampling.samplers import DeferredSampler
from lt_det.training.resume.image_stream import ImageStream


@register_sampler("EveryOther")
class EveryOther(TrainingSampler):
    def __init__(self, cfg, dataset_dicts, seed):
        super().__init__(len(dataset_dicts) // 2, seed=seed)

    def _infinite_indices(self):
        return (2 * index for index in super()._infinite_indices())


@pytest.fixture
def cfg(mini):
    register_dataset("every_other", mini.train_json, mini.image_root)
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    cfg.DATASETS.TRAIN = ("every_other",)
    cfg.DATALOADER.SAMPLER_TRAIN = "EveryOther"
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.ASPECT_RATIO_GROUPING = 0, False
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.IMS_PER_BATCH, cfg.SEED = 10, (6,), 2, 3
    return cfg


def test_by_config(cfg):
    sampler = image_source(build_train_loader(cfg)).sampler
    assert isinstance(sampler, EveryOther)
    drawn = list(itertools.islice(sampler, 200))
    assert sorted(drawn) == list(range(0, 400, 2))
    assert sampler._seed == 3


def test_deferred(cfg):
    cfg.DATALOADER.SAMPLER_START = 5
    sampler = image_source(build_train_loader(cfg)).sampler
    assert isinstance(sampler, DeferredSampler)
    assert isinstance(sampler.then, EveryOther)
    assert sampler.switch_after == 10


def test_resumed(cfg):
    """A training without a seed goes on with the seed that was drawn."""
    cfg.SEED = -1
    first, second = (build_train_loader(cfg) for _ in range(2))
    streams = [ImageStream(first), ImageStream(second)]
    taken = [[image["image_id"] for image in batch] for batch in itertools.islice(first, 4)]
    streams[1].load_state_dict(streams[0].state_dict())
    streams[1].skip(4)
    assert [[image["image_id"] for image in batch] for batch in itertools.islice(second, 2)] == taken[2:]


def test_taken_name():
    with pytest.raises(ValueError, match="EveryOther"):
        register_sampler("EveryOther")(EveryOther)
