"""Class-aware, repeat-factor and deferred sampling: what the streams are."""

import itertools
import logging

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import get_cfg, instantiate
from detectron2.data import build_detection_train_loader, get_detection_dataset_dicts
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler

import lt_det
from lt_det.config import resampling_start
from lt_det.data import register_dataset, training_stats
from lt_det.data.sampling.bucket_fractions import log_instances
from lt_det.data.sampling.class_aware import class_aware_sampler
from lt_det.data.sampling.repeat_factors import repeat_factor_sampler
from lt_det.data.sampling.samplers import (
    ClassAwareTrainingSampler,
    DeferredSampler,
    NumberedSampler,
    RepeatFactorSampler,
    ShapeSampler,
)
from lt_det.errors import LtDetError
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import LongTailTrainer
from lt_det.training.resume.image_stream import ImageStream


def take(sampler, n):
    return list(itertools.islice(sampler, n))


def images_of(*classes):
    """Images in Detectron2's form, each given by the classes of its annotations."""
    return [{"annotations": [{"category_id": k} for k in of_image]} for of_image in classes]


def in_ranks(sampler, size, n):
    """What `size` processes draw together."""
    parts = []
    for rank in range(size):
        sampler._rank, sampler._world_size = rank, size
        parts.append(take(sampler, n // size))
    return [index for together in zip(*parts, strict=True) for index in together]


def test_class_aware_draws_classes_equally_often():
    # Class 0 in 60 images, class 3 in two (one of them twice), class 7 in one that also has class 0; 40 are empty.
    images = images_of(*[[0]] * 59, [0, 7], *[[]] * 40, [3], [3, 3])
    drawn = np.bincount(take(ClassAwareTrainingSampler(images, seed=1), 30_000), minlength=len(images)) / 30_000
    assert drawn[60:100].sum() == 0
    assert drawn[100:] == pytest.approx([1 / 6, 1 / 6], abs=0.01)
    assert drawn[59] == pytest.approx(1 / 3 + 1 / 180, abs=0.01)
    assert drawn[:59] == pytest.approx(np.full(59, 1 / 180), abs=0.003)


def test_class_aware_summary_by_bucket(caplog):
    """Class 0 in 18 images of one instance each, class 1 in two, of which one has three; class 2 in none."""
    images = images_of(*[[0]] * 17, [0, 1], [1, 1, 1], [])
    stats = ClassStats(("a", "b", "c"), np.array([18, 2, 0]), None, 20, "a test")
    buckets = FrequencyBuckets.from_edges(stats, [5], ["few", "many"])
    with caplog.at_level(logging.INFO):
        sampler = class_aware_sampler(images, buckets, seed=1)
        log_instances(images, buckets)
    assert isinstance(sampler, ClassAwareTrainingSampler)
    assert sampler.weights() == pytest.approx([1 / 18] * 17 + [1 / 18 + 1 / 2, 1 / 2, 0])
    class_aware, plain = [record.getMessage() for record in caplog.records]
    # Drawn in two draws: 1.5 times class 0 (17 / 18 + 1 / 18 + 1 / 2), 1 / 18 + 1 / 2 + 3 / 2 times class 1.
    assert class_aware.startswith("Class-aware sampling: 2 of 3 classes have images; ")
    assert class_aware.split("\n", 1)[1] == (
        "  unseen: 0 of 1 class drawn, 0.00% of the instances before, 0.00% after\n"
        "  few: 1 of 1 class drawn, 18.18% of the instances before, 57.81% after\n"
        "  many: 1 of 1 class drawn, 81.82% of the instances before, 42.19% after"
    )
    assert plain == (
        "Training set: 20 images with 22 instances.\n"
        "  unseen: 1 class, 0.00% of the instances\n"
        "  few: 1 class, 18.18% of the instances\n"
        "  many: 1 class, 81.82% of the instances"
    )


def test_class_aware_needs_annotations():
    with pytest.raises(LtDetError, match="no training image has an annotation"):
        ClassAwareTrainingSampler([{"annotations": []}, {}])


@pytest.mark.parametrize("kind", ["class aware", "repeat factor"])
def test_one_stream_for_any_number_of_processes(kind):
    images = images_of(*[[k % 5] for k in range(50)])
    factors = torch.linspace(1, 3, 50)
    make = {
        "class aware": lambda seed: ClassAwareTrainingSampler(images, seed),
        "repeat factor": lambda seed: RepeatFactorSampler(factors, seed=seed),
    }[kind]
    stream = take(make(3), 600)
    assert in_ranks(make(3), 3, 600) == in_ranks(make(3), 2, 600) == stream
    assert take(make(4), 600) != stream


def test_repeat_factor_sampler_is_detectron2s():
    factors = 1 + 3 * torch.rand(500, generator=torch.Generator().manual_seed(0))
    ours, theirs = (kind(factors, seed=5) for kind in (RepeatFactorSampler, RepeatFactorTrainingSampler))
    assert take(ours, 4000) == take(theirs, 4000)


def test_deferred_sampler_switches():
    sampler = DeferredSampler(itertools.repeat(1), itertools.repeat(2), 3)
    assert take(sampler, 5) == [1, 1, 1, 2, 2]
    numbered = NumberedSampler(sampler)
    numbered.skipped = 2
    assert take(numbered, 3) == [(2, 1), (3, 2), (4, 2)]
    numbered.skipped = 7
    assert take(numbered, 2) == [(7, 2), (8, 2)]


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
    sampler = loader.dataset.sampler
    return sampler.sampler if isinstance(sampler, ShapeSampler) else sampler


@pytest.mark.parametrize("grouping", [True, False])
def test_trainer_defers_the_configured_sampler(train, grouping, caplog):
    caplog.set_level(logging.INFO)
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
    assert "RepeatFactorTrainingSampler takes over from the plain sampler at iteration 6." in caplog.messages
    assert len(next(iter(loader))) == 2


def test_start_zero_is_detectron2s_sampler(train):
    loader = LongTailTrainer.build_train_loader(config(train, SAMPLER_TRAIN="RepeatFactorTrainingSampler"))
    assert isinstance(deferred_sampler(loader), RepeatFactorTrainingSampler)


@pytest.mark.parametrize(("start", "fraction"), [(None, None), (0, 0.0), ("first_lr_step", 0.6), (0.5, 0.5), (7, 0.7)])
def test_start_by_config(train, start, fraction):
    assert resampling_start(config(train, SAMPLER_START=start, SAMPLER_TRAIN="RepeatFactorTrainingSampler")) == fraction


def test_nothing_to_defer(train):
    with pytest.raises(LtDetError, match=r"SAMPLER_START .* TrainingSampler"):
        resampling_start(config(train, SAMPLER_START=0.5))


@pytest.mark.parametrize("start", ["never", -1, 10, 11, (5,)])
def test_start_outside_the_training(train, start):
    with pytest.raises(LtDetError, match=r"DATALOADER.SAMPLER_START is .* first_lr_step"):
        resampling_start(config(train, SAMPLER_START=start, SAMPLER_TRAIN="RepeatFactorTrainingSampler"))


@pytest.mark.parametrize("name", ["TrainingSampler", "RepeatFactorTrainingSampler", "ClassAwareTrainingSampler"])
def test_log_has_a_line_by_bucket_and_none_by_class(train, caplog, name):
    with caplog.at_level(logging.INFO):
        LongTailTrainer.build_train_loader(config(train, SAMPLER_TRAIN=name))
    assert caplog.text.count("% of the instances") == len(FrequencyBuckets.from_edges(training_stats([train])).names)
    assert "Distribution of instances among all" not in caplog.text


def test_class_aware_by_config(train):
    cfg = config(train, SAMPLER_TRAIN="ClassAwareTrainingSampler", SAMPLER_START=0.5)
    assert isinstance(deferred_sampler(LongTailTrainer.build_train_loader(cfg)).then, ClassAwareTrainingSampler)


def test_unknown_sampler(train):
    with pytest.raises(LtDetError, match=r"'ClassAware' \(DATALOADER.SAMPLER_TRAIN\).* TrainingSampler"):
        LongTailTrainer.build_train_loader(config(train, SAMPLER_TRAIN="ClassAware"))


def test_lazy_config(train):
    """As docs/samplers.md writes it."""
    dataset = L(get_detection_dataset_dicts)(names=train)
    buckets = L(FrequencyBuckets.from_edges)(stats=L(training_stats)(datasets=[train]))
    loader = L(build_detection_train_loader)(
        dataset=dataset, mapper=None, total_batch_size=2, aspect_ratio_grouping=False
    )
    loader.sampler = L(DeferredSampler)(
        first=L(repeat_factor_sampler)(dataset_dicts=dataset, threshold=0.5, buckets=buckets),
        then=L(ClassAwareTrainingSampler)(dataset_dicts=dataset),
        switch_after=4,
    )
    built = instantiate(loader)
    assert len(ImageStream(built).state_dict()["seeds"]) == 3  # of both samplers, and of what is drawn for images
    assert [len(batch) for batch in itertools.islice(built, 3)] == [2, 2, 2]
