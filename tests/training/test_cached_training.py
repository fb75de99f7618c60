"""Training on records out of the cache is training on those of Detectron2's loader."""

import pytest
import torch
from detectron2.utils.env import seed_all_rng

from lt_det.data.cache import record_cache
from lt_det.data.cache.records import Records
from lt_det.training import LongTailTrainer, load_config
from tests.helpers.streamed import images_taken, train


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Switch the cache on, for sets of any size."""
    monkeypatch.setenv("LT_DET_CACHE", str(tmp_path / "cache"))

    def use():
        monkeypatch.setattr(record_cache, "WORTH_CACHING", 0)
        return tmp_path / "cache"

    return use


@pytest.mark.parametrize("sampler", ["TrainingSampler", "RepeatFactorTrainingSampler"])
def test_same_stream_of_images(sixty_config, tmp_path, cache, sampler):
    options = ("DATALOADER.SAMPLER_TRAIN", sampler, "DATALOADER.NUM_WORKERS", 2, "SEED", 3)
    seed_all_rng(3)  # Detectron2's own samplers draw their seed
    train(sixty_config, tmp_path / "plain", *options)
    folder = cache()
    seed_all_rng(3)
    train(sixty_config, tmp_path / "cached", *options)
    assert len(list(folder.glob("*.records"))) == 1
    assert images_taken(tmp_path / "cached") == images_taken(tmp_path / "plain")


def test_same_weights(sixty_config, tmp_path, cache):
    def trained(output):
        seed_all_rng(3)
        options = ["OUTPUT_DIR", str(output), "SEED", "3", "SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "(1,)"]
        trainer = LongTailTrainer(load_config(str(sixty_config), options))
        trainer.train()
        return trainer.model.state_dict()

    plain = trained(tmp_path / "plain")
    cache()
    for name, weights in trained(tmp_path / "cached").items():
        assert torch.equal(weights, plain[name]), name


def test_images_for_evaluation_come_from_the_cache(sixty_config, tmp_path, cache):
    cache()
    cfg = load_config(str(sixty_config), ["OUTPUT_DIR", str(tmp_path)])
    loader = LongTailTrainer.build_test_loader(cfg, "streamed")
    assert isinstance(loader.dataset._dataset, Records)
    assert len(loader) == 60
    assert next(iter(loader))[0]["image"].shape[0] == 3
