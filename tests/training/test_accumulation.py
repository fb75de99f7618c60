"""A step of several passes is the step of one pass with all images."""

import json

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer, load_config
from lt_det.training.accumulation import AccumulatingAMPTrainer, AccumulatingTrainer
from tests.helpers import needs_float16
from tests.helpers.gloo import in_processes

ITERATIONS = 5
SAME_IMAGES = ["DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler", "SEED", 7]


class Counter(torch.nn.Module):
    """Guesses the number of objects from the colors of an image; in double precision, without batch statistics."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.nn.Parameter(torch.randn(3, 8, dtype=torch.float64, generator=generator))
        self.then = torch.nn.Parameter(torch.randn(8, dtype=torch.float64, generator=generator))

    def forward(self, batch):
        colors = torch.stack([image["image"].double().mean((1, 2)) / 255 for image in batch])
        counts = torch.tensor([float(len(image["instances"])) for image in batch], dtype=torch.float64)
        guesses = (colors @ self.first).tanh() @ self.then
        return {"loss_square": ((guesses - counts) ** 2).mean(), "loss_size": 0.1 * guesses.abs().mean()}


class CounterTrainer(LongTailTrainer):
    @classmethod
    def build_model(cls, cfg):
        return Counter()


def train(config, output, passes, count_exchanges=False):
    """Weights and the log of the last iteration into `output`."""
    output.mkdir(exist_ok=True)
    overrides = [
        "SOLVER.ACCUMULATE",
        passes,
        "OUTPUT_DIR",
        output,
        "SOLVER.MAX_ITER",
        ITERATIONS,
        "SOLVER.STEPS",
        "(3,)",
    ]
    cfg = load_config(str(config), [str(word) for word in [*overrides, "SOLVER.WARMUP_ITERS", 2, *SAME_IMAGES]])
    trainer = CounterTrainer(cfg)
    sent = []
    if isinstance(trainer.model, DistributedDataParallel):

        def count(_, bucket):
            sent.append(1)
            return allreduce_hook(None, bucket)

        trainer.model.register_comm_hook(None, count)
    trainer.resume_or_load(resume=False)
    trainer.train()
    if count_exchanges:
        assert len(sent) == ITERATIONS


@pytest.fixture(scope="module")
def one_pass(sixty_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_pass")
    torch.manual_seed(0)
    train(sixty_config, folder, 1)
    return folder


def outcome(folder):
    checkpoint = torch.load(folder / "model_final.pth", weights_only=False)
    assert checkpoint["iteration"] == ITERATIONS - 1
    metrics = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()][-1]
    return checkpoint["model"], {name: metrics[name] for name in ("loss_square", "loss_size", "total_loss", "lr")}


def assert_same(folder, expected_folder):
    (weights, log), (expected, expected_log) = outcome(folder), outcome(expected_folder)
    for name, value in expected.items():
        torch.testing.assert_close(torch.as_tensor(weights[name]), torch.as_tensor(value), rtol=1e-11, atol=1e-11)
    assert log == pytest.approx(expected_log, rel=1e-9)
    moved = (torch.as_tensor(expected["first"]) - Counter().first).abs().max()
    assert moved > 1e-3  # there was something to learn


@pytest.mark.parametrize("passes", [2, 3])
def test_passes_together_are_one_step(sixty_config, one_pass, tmp_path, passes):
    train(sixty_config, tmp_path, passes)
    assert_same(tmp_path, one_pass)


def test_processes_exchange_gradients_once_per_step(sixty_config, one_pass, tmp_path):
    in_processes(2, tmp_path, train, sixty_config, tmp_path, 3, True)
    assert_same(tmp_path, one_pass)


@pytest.mark.parametrize(
    ("passes", "said"),
    [
        (4, "A batch of 6 images .* 1 process in 4 passes each .*; make it a multiple of 4"),
        (0, "SOLVER.ACCUMULATE .* is 0"),
    ],
)
def test_batches_that_cannot_be_split(sixty_config, tmp_path, passes, said):
    with pytest.raises(LtDetError, match=said):
        train(sixty_config, tmp_path, passes)


@needs_float16
class TestMixedPrecision:
    def trainer(self, precision, passes, scale=2.0**10):
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        model = Squares()
        images = torch.randn(2 // passes * passes, 4, generator=generator)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        options = {"grad_scaler": scaler, "precision": precision}
        return AccumulatingAMPTrainer(model, images.chunk(passes), optimizer, passes, **options)

    def step(self, trainer):
        with EventStorage() as storage:
            trainer.iter = 0
            trainer.run_step()
            return storage.latest()["total_loss"][0]

    @pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
    def test_passes_together_are_one_step(self, precision):
        whole, halves = (self.trainer(precision, passes) for passes in (1, 2))
        before = whole.model.line.weight.detach().clone()
        assert self.step(halves) == pytest.approx(self.step(whole), rel=1e-2)
        steps = [trainer.model.line.weight.detach() - before for trainer in (whole, halves)]
        torch.testing.assert_close(steps[1], steps[0], rtol=2e-2, atol=1e-4)
        assert steps[0].abs().max() > 0.01
        assert whole.model.seen_dtype == precision

    def test_overflow_drops_the_step(self):
        trainer = self.trainer(torch.float16, 2, scale=2.0**40)
        before = trainer.model.line.weight.detach().clone()
        self.step(trainer)
        assert torch.equal(trainer.model.line.weight, before)
        assert trainer.grad_scaler.get_scale() == 2.0**39


def test_a_model_may_return_one_loss():
    """As Detectron2's trainers allow."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0))
    weights = model[0].weight.detach().clone()
    model.register_forward_hook(lambda model, args, output: output.square().mean())
    trainer = AccumulatingTrainer(model, torch.ones(2, 3, 4), torch.optim.SGD(model.parameters(), lr=0.1), 2)
    with EventStorage() as storage:
        trainer.iter = 0
        trainer.run_step()
        assert storage.latest()["total_loss"][0] > 0
    assert not torch.equal(model[0].weight, weights)


class Squares(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(4, 3)

    def forward(self, images):
        guesses = self.line(images)
        self.seen_dtype = guesses.dtype
        return {"loss": (guesses.float() ** 2).mean()}
