"""The moving average of the weights: its formula, what is averaged, and that it is evaluated, saved and resumed."""

import itertools
import math

import pytest
import torch
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer
from detectron2.solver.build import maybe_add_gradient_clipping
from fvcore.common.config import CfgNode
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training import EMAHook, LongTailTrainer, equip, load_config
from lt_det.training.accumulation import AccumulatingAMPTrainer, AccumulatingTrainer, MixedPrecisionTrainer
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.weights.averaged import averages_of
from lt_det.training.weights.stripping import strip_weights
from tests.helpers import assert_same, needs_float16
from tests.helpers.configs import RANDOM_TRAINING
from tests.helpers.gloo import in_processes
from tests.helpers.lazy_hooks import lazy_config

EMA = ("SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.5)
CLASSIFIER = "roi_heads.box_predictor.cls_score.weight"


def load(file):
    return torch.load(file, weights_only=False)


def average_in(file):
    return load(file)["trainer"]["hooks"]["EMAHook"]


class Network(nn.Module):
    """A trained, a frozen and a shared weight, batch normalization, and a loss with a state."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)
        self.same, self.same_norm = self.last, self.norm
        self.first.bias.requires_grad_(False)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, batch):
        self.seen += 1
        return {"loss": self.last(self.norm(self.first(batch))).square().mean()}


def trained(kind, steps, decay, *, clip=False, **options):
    """Train a network; returns it, the hook, and the trained weights after each step, the initial ones first."""
    torch.manual_seed(0)
    model = Network()
    data = torch.randn(100, 8, 3, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    if clip:  # the optimizer's step calls the step of its base class, on which a hook may be, too
        clipping = {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": 1.0, "NORM_TYPE": 2.0}
        optimizer = maybe_add_gradient_clipping(CfgNode({"SOLVER": {"CLIP_GRADIENTS": clipping}}), optimizer)
    trainer = kind(model, data, optimizer, **options)
    hook = EMAHook(model, decay)
    found = [snapshot(model)]

    class Record(HookBase):
        def after_step(self):
            found.append(snapshot(model))

    trainer.register_hooks([hook, Record()])
    trainer.train(0, steps)
    return model, hook, found


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def expected(snapshots, decay, name):
    """The published recursion, in double precision."""
    average = snapshots[0][name].double()
    for n, weights in enumerate(snapshots[1:]):
        d = min(decay, (1 + n) / (10 + n))
        average = d * average + (1 - d) * weights[name].double()
    return average


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_the_formula(decay, clip):
    _, hook, snapshots = trained(SimpleTrainer, 12, decay, clip=clip)
    state = hook.state_dict()
    assert state["steps"] == 12
    for name, average in state["weights"].items():
        assert torch.allclose(average.double(), expected(snapshots, decay, name), atol=1e-6), name


def test_what_is_averaged():
    model, hook, _ = trained(SimpleTrainer, 3, 0.9)
    names = {"first.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"}
    names |= {"last.weight", "last.bias", "same.weight", "same.bias"}
    names |= {f"same_{name}" for name in names if name.startswith("norm.")}
    assert set(hook.state_dict()["weights"]) == names
    weights = snapshot(model)
    with hook.averaged():
        inside = snapshot(model)
        assert model.last.weight is model.same.weight
    assert_same(snapshot(model), weights)
    for name in weights:
        assert torch.equal(inside[name], weights[name]) == (name not in names), name
        if name in names:
            assert torch.equal(inside[name], hook.state_dict()["weights"][name])


def test_the_weights_come_back_after_an_error():
    model, hook, _ = trained(SimpleTrainer, 3, 0.9)
    weights = snapshot(model)

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hook.evaluating(fail)()
    assert_same(snapshot(model), weights)


def test_one_update_per_optimizer_step():
    assert trained(AccumulatingTrainer, 4, 0.9, passes=3)[1].state_dict()["steps"] == 4


@needs_float16
@pytest.mark.parametrize("passes", [1, 2])
def test_skipped_steps_do_not_count(passes):
    """The first loss scales overflow float16."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    options = {"grad_scaler": scaler, "precision": torch.float16}
    kind = MixedPrecisionTrainer if passes == 1 else AccumulatingAMPTrainer
    if passes == 1 and not torch.cuda.is_available():
        pytest.skip("Detectron2's AMPTrainer needs a GPU")
    _, hook, snapshots = trained(kind, 40, 0.9, **options, **({"passes": passes} if passes > 1 else {}))
    changed = sum(not torch.equal(a["last.bias"], b["last.bias"]) for a, b in itertools.pairwise(snapshots))
    assert 0 < hook.state_dict()["steps"] == changed < 40


def train(config, output, *overrides, resume=False):
    torch.set_num_threads(1)
    words = [*RANDOM_TRAINING, "SOLVER.STEPS", "()", "TEST.EVAL_PERIOD", "0", *map(str, EMA), "OUTPUT_DIR", str(output)]
    trainer = LongTailTrainer(load_config(str(config), [*words, *map(str, overrides)]))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_resumed_is_undisturbed(hooks_config, tmp_path, processes):
    """To the last bit, the average and the weights."""

    def run(resume):
        words = ("SOLVER.MAX_ITER", 5, "SOLVER.CHECKPOINT_PERIOD", 3)
        if processes == 1:
            train(hooks_config, tmp_path, *words, resume=resume)
        else:
            in_processes(2, tmp_path, train_resuming if resume else train, str(hooks_config), str(tmp_path), *words)
        return load(tmp_path / "model_final.pth")

    undisturbed = run(resume=False)
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth")
    assert_same(run(resume=True), undisturbed)
    state = undisturbed["trainer"]["hooks"]["EMAHook"]
    assert state["steps"] == 5
    assert not torch.equal(state["weights"][CLASSIFIER], undisturbed["model"][CLASSIFIER])


def train_resuming(*arguments):
    train(*arguments, resume=True)


def test_the_average_is_evaluated_and_used(config, tmp_path):
    """In the training, by --eval-only, other commands, strip-weights and as a start; --resume has the weights."""

    class Trainer(LongTailTrainer):
        evaluated = ()

        @classmethod
        def test(cls, cfg, model, evaluators=None):
            cls.evaluated = snapshot(model)
            return {"bbox": {"AP": 1.0}}

    cfg = config(*EMA)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    file = tmp_path / "model_final.pth"
    state, weights = average_in(file)["weights"], load(file)["model"]
    assert_same(snapshot(trainer.model), weights)
    averaged = weights | state
    assert not torch.equal(averaged[CLASSIFIER], weights[CLASSIFIER])
    assert_same(Trainer.evaluated, averaged)

    def loaded(path):
        model = Trainer.build_model(config())
        evaluation_checkpointer(model).load(path)
        return model.state_dict()

    assert_same(loaded(str(file)), averaged)
    assert_same(loaded(f"{file}?ema=False"), weights)
    with pytest.raises(LtDetError, match="ema=no"):
        loaded(f"{file}?ema=no")
    Trainer.evaluate(config("MODEL.WEIGHTS", str(file)))
    assert_same(Trainer.evaluated, averaged)
    fine_tuned = Trainer(config("MODEL.WEIGHTS", str(file), "OUTPUT_DIR", tmp_path / "next"))
    fine_tuned.resume_or_load(resume=False)
    assert_same(snapshot(fine_tuned.model), averaged)
    strip_weights(file, tmp_path / "stripped.pth")
    assert_same(load(tmp_path / "stripped.pth")["model"], averaged)
    resumed = Trainer(config(*EMA))
    resumed.resume_or_load(resume=True)
    assert_same(snapshot(resumed.model), weights)


def test_decoupled_training(config, tmp_path):
    """Only the classifier is averaged."""
    first = train_first(config, tmp_path / "first")
    method = ("MODEL.LONG_TAIL.SECOND_STAGE.METHOD", "crt", "MODEL.WEIGHTS", first)
    trainer = LongTailTrainer(config(*EMA, *method, "OUTPUT_DIR", tmp_path / "crt", "TEST.EVAL_PERIOD", 0))
    trainer.resume_or_load(resume=False)
    trainer.train()
    names = set(average_in(tmp_path / "crt" / "model_final.pth")["weights"])
    assert {CLASSIFIER, CLASSIFIER.replace("weight", "bias")} <= names
    assert all(name.startswith("roi_heads.box_predictor.cls_score.") or "running_" in name for name in names)


def train_first(config, folder):
    folder.mkdir()
    trainer = LongTailTrainer(config("OUTPUT_DIR", folder, "SOLVER.MAX_ITER", 1, "TEST.EVAL_PERIOD", 0))
    trainer.checkpointer.save("model_final")
    return str(folder / "model_final.pth")


def test_resuming_without_and_with_it(config, hooks_config, tmp_path, caplog):
    """Switched on late, it starts from the weights of the checkpoint; other weights than those averaged are refused."""
    train(hooks_config, tmp_path, "SOLVER.EMA.ENABLED", False, "SOLVER.MAX_ITER", 2)
    train(hooks_config, tmp_path, "SOLVER.MAX_ITER", 4, resume=True)
    assert "no moving average" in caplog.text
    assert average_in(tmp_path / "model_final.pth")["steps"] == 2
    hook = EMAHook(nn.Linear(2, 2), 0.9)
    with pytest.raises(LtDetError, match="moving average"):
        hook.load_state_dict(average_in(tmp_path / "model_final.pth"))


def test_a_lazy_config(config, tmp_path):
    config()
    trainer = equip(lazy_config(tmp_path, "train.ema.enabled=True", "train.ema.decay=0.5", "train.eval_period=0"))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert average_in(tmp_path / "model_final.pth")["steps"] == 4


class Plain(DefaultTrainer):
    """A user's own trainer, without equip, by the lines of the documentation."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        cls.evaluated = snapshot(model)
        return {"bbox": {"AP": 1.0}}

    kind = EMAHook

    def build_hooks(self):
        ema = self.kind(self.model, decay=0.5)
        self.test = ema.evaluating(self.test)
        return [ema, *super().build_hooks()]


class Own(EMAHook):
    """A user's own average. Detectron2 keeps its state under the name of its class."""

    def state_dict(self):
        return {**super().state_dict(), "mine": 1}


@pytest.mark.parametrize("kind", [EMAHook, Own])
def test_a_users_own_trainer(config, tmp_path, kind):
    """What it evaluates is used wherever its checkpoint is."""
    Plain.kind = kind
    trainer = Plain(config(*EMA))
    trainer.resume_or_load(resume=False)
    trainer.train()
    file = tmp_path / "model_final.pth"
    content = load(file)
    average = content["trainer"]["hooks"][kind.__name__]["weights"]
    assert not torch.equal(average[CLASSIFIER], content["model"][CLASSIFIER])
    assert_same(Plain.evaluated, content["model"] | average)
    model = LongTailTrainer.build_model(config())
    evaluation_checkpointer(model).load(str(file))
    assert_same(model.state_dict(), Plain.evaluated)


def test_the_state_of_another_hook_is_no_average():
    model = {"weight": torch.zeros(2)}
    for state in (
        {"weights": {"weight": torch.ones(3)}, "steps": 4},
        {"weights": {"other": torch.ones(2)}, "steps": 4},
        {"weights": {"weight": torch.ones(2)}},
        {"weights": [1.0], "steps": 4},
        [1.0],
    ):
        assert averages_of({"model": model, "trainer": {"hooks": {"Other": state}}}) == {}
    for content in (3, {}, {"trainer": None}, {"trainer": {"hooks": [1]}}):
        assert averages_of(content) == {}
    average = {"weights": {"weight": torch.ones(2)}, "steps": 4}
    hooks = {"First": {"weights": {}, "steps": 1}, "Own": average}
    assert averages_of({"model": model, "trainer": {"hooks": hooks}}) == average["weights"]


@pytest.mark.parametrize("decay", [1.0, -0.1, math.nan, True, "0.9"])
def test_a_decay_that_makes_no_sense(decay):
    with pytest.raises(LtDetError, match=r"EMA\.DECAY"):
        EMAHook(nn.Linear(1, 1), decay)
