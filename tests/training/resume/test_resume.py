"""A resumed training is the undisturbed one to the last bit, whatever is drawn at random."""

import functools
import itertools
import json
import random

import numpy as np
import pytest
import torch
from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from lt_det.data.loader import build_resumable_loader
from lt_det.data.sampling.samplers import ClassAwareTrainingSampler, DeferredSampler, RepeatFactorSampler
from lt_det.training import LongTailTrainer, load_config
from lt_det.training.accumulation import AccumulatingAMPTrainer
from lt_det.training.resume.image_stream import ImageStream
from lt_det.training.resume.metrics_log import rewind_metrics
from lt_det.training.resume.seeding import seed_generators
from tests.helpers import assert_same, needs_float16
from tests.helpers.configs import RANDOM_TRAINING
from tests.helpers.gloo import in_processes


def train(config, output, *overrides, resume=False):
    torch.set_num_threads(1)
    trainer = LongTailTrainer(load_config(str(config), [*RANDOM_TRAINING, "OUTPUT_DIR", str(output), *overrides]))
    trainer.resume_or_load(resume=resume)
    trainer.train()


@pytest.mark.parametrize("processes", [1, 2])
def test_resumed_is_undisturbed(sixty_config, tmp_path, processes):
    """Without a SEED, and with another number of loading processes."""

    def run(*overrides, resume=False):
        passes = ("SOLVER.ACCUMULATE", str(processes))
        work = functools.partial(train, sixty_config, tmp_path, *passes, *overrides, resume=resume)
        work() if processes == 1 else in_processes(processes, tmp_path, work)
        return torch.load(tmp_path / "model_final.pth", weights_only=False)

    undisturbed = run()
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth")
    before = torch.load(tmp_path / "model_0000002.pth", weights_only=False)["model"]
    assert_same(run("DATALOADER.NUM_WORKERS", "2", resume=True), undisturbed)
    weight = "roi_heads.box_predictor.cls_score.weight"
    assert not torch.equal(torch.as_tensor(before[weight]), torch.as_tensor(undisturbed["model"][weight]))


def shapes(count):
    """Images of which a third is wide, in Detectron2's form."""
    draw = random.Random(0)
    return [
        {"image_id": n, "width": draw.choice([40, 40, 60]), "height": 50, "annotations": [{"category_id": n % 7}]}
        for n in range(count)
    ]


def ids(batches, count):
    return [[image["image_id"] for image in batch] for batch in itertools.islice(batches, count)]


def test_batches_are_those_of_detectron2s_grouping():
    images = shapes(100)
    make = {"dataset": images, "mapper": None, "total_batch_size": 4}
    ours, theirs = (
        build(**make, sampler=ClassAwareTrainingSampler(images, seed=3))
        for build in (build_resumable_loader, build_detection_train_loader)
    )
    found = ids(ours, 60)
    assert found == ids(theirs, 60)
    wide = [{images[n]["width"] > 50 for n in batch} for batch in found]
    assert all(len(of_batch) == 1 for of_batch in wide)
    assert {True} in wide
    assert {False} in wide


def flip(image):
    """A mapper that draws as Detectron2's augmentations do."""
    return {**image, "drawn": (random.random(), np.random.rand(), torch.rand(()).item())}


@pytest.mark.parametrize("workers", [0, 2])
def test_grouped_stream_goes_on(workers):
    """Also over the seam of deferred re-sampling."""
    images = shapes(50)

    def loader(workers, skipped):
        sampler = DeferredSampler(
            RepeatFactorSampler(torch.ones(50), seed=1), ClassAwareTrainingSampler(images, seed=2), 60
        )
        built = build_resumable_loader(
            images, mapper=flip, sampler=sampler, total_batch_size=3, num_workers=workers, aspect_ratio_grouping=True
        )
        ImageStream(built, seed=5).skip(skipped)
        return built

    undisturbed = [[(image["image_id"], image["drawn"]) for image in b] for b in itertools.islice(loader(1, 0), 40)]
    again = [[(image["image_id"], image["drawn"]) for image in b] for b in itertools.islice(loader(workers, 33), 29)]
    assert again == undisturbed[11:]
    assert len({drawn for batch in undisturbed for _, drawn in batch}) == 120


def test_draws_on_another_number_of_processes(monkeypatch):
    """Together the processes have the images of one, flipped as there."""

    def stream(rank, size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: size)
        sampler = TrainingSampler(50, seed=1)
        built = build_resumable_loader(
            shapes(50), mapper=flip, sampler=sampler, total_batch_size=1, aspect_ratio_grouping=False
        )
        ImageStream(built, seed=5).skip(60 // size)
        return [(image["image_id"], image["drawn"]) for (image,) in itertools.islice(built, 12 // size)]

    parts = [stream(rank, 3) for rank in range(3)]
    assert [image for together in zip(*parts, strict=True) for image in together] == stream(0, 1)


def test_shapes_that_only_the_images_know():
    images = [{"image_id": n} for n in range(20)]
    built = build_resumable_loader(images, mapper=lambda image: {**image, "width": 4, "height": 5}, total_batch_size=2)
    assert [len(batch) for batch in ids(built, 3)] == [2, 2, 2]


def test_generators_are_seeded_apart():
    seen = set()
    for place in ((1, 2), (1, 3), (2, 2), (1, 2, 1)):
        seed_generators(*place)
        drawn = random.getrandbits(32), int(np.random.randint(2**32)), int(torch.randint(2**32, ()))
        assert len(set(drawn)) == 3
        seen.add(drawn)
        seed_generators(*place)
        assert drawn == (random.getrandbits(32), int(np.random.randint(2**32)), int(torch.randint(2**32, ())))
    assert len(seen) == 4


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(4, 3)

    def forward(self, images):
        return {"loss": (self.line(images).float() ** 2).mean()}


@needs_float16
def test_loss_scale_of_mixed_precision_goes_on():
    """The scale is halved by the first step, whose gradients overflow."""

    def trainer(scale):
        torch.manual_seed(0)
        model = Line()
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3)
        options = {"grad_scaler": scaler, "precision": torch.float16}
        data = torch.randn(40, 2, 4, generator=torch.Generator().manual_seed(0))
        return AccumulatingAMPTrainer(model, data, torch.optim.SGD(model.parameters(), lr=0.1), 2, **options)

    def step(trainer):
        with EventStorage():
            trainer.iter = 0
            trainer.run_step()

    first, resumed = trainer(2.0**40), trainer(2.0**10)
    step(first)
    state = first.state_dict()
    assert state["grad_scaler"]["scale"] == 2.0**39
    resumed.load_state_dict(state)
    assert resumed.grad_scaler.state_dict() == first.grad_scaler.state_dict()


def test_the_log_has_one_line_for_an_iteration(tmp_path):
    def line(iteration, **values):
        return json.dumps({"iteration": iteration, **values}) + "\n"

    file = tmp_path / "metrics.json"
    rewind_metrics(str(tmp_path), 5)  # nothing was logged
    # Within a write the lines are not in order.
    file.write_text(line(19) + line(39) + line(38, rare=1) + line(59, bad=float("nan")) + line(57) + '{"iteration": 7')
    with file.open("a") as writer:  # Detectron2's
        rewind_metrics(str(tmp_path), 39)
        assert file.read_text() == line(19) + line(38, rare=1)
        writer.write(line(39))
        writer.write(line(40, **{"bbox/AP": 12.5}))  # at the end of a training of 40 iterations, which is prolonged
    assert file.read_text() == line(19) + line(38, rare=1) + line(39) + line(40, **{"bbox/AP": 12.5})
    before = file.stat().st_mtime_ns
    rewind_metrics(str(tmp_path), 40)
    assert file.stat().st_mtime_ns == before
    # An evaluation right after the checkpoint, which is repeated.
    file.write_text(line(38) + line(39, lr=0.1, **{"bbox/AP": 12.5}))
    rewind_metrics(str(tmp_path), 39)
    assert file.read_text() == line(38)
