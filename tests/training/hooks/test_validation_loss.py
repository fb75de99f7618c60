"""The validation loss: its value, that it changes nothing, and that it is the same in any number of processes."""

import copy
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.engine import DefaultTrainer
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from torch import nn

from lt_det.data import load_records
from lt_det.errors import LtDetError
from lt_det.training import (
    LongTailTrainer,
    Metric,
    ValidationLoss,
    build_validation_loader,
    equip,
    load_config,
    train_classifier_only,
    validation_loss,
)
from lt_det.training.hooks.validation_loss import try_validation_loss
from tests.helpers import assert_same
from tests.helpers.configs import RANDOM_TRAINING
from tests.helpers.gloo import in_processes
from tests.helpers.lazy_hooks import lazy_config
from tests.helpers.models import seeded_model

VAL = ("TEST.VAL_LOSS", True)
STATEFUL = ("eqlv2", "seesaw", "ib", "federated")


def everything(model):
    """Weights, buffers, modes, counters and random numbers."""
    modes = {name: module.training for name, module in model.named_modules()}
    predictor = model.roi_heads.box_predictor
    numbers = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return state, modes, predictor.accuracy.counts.clone(), numbers


def computed(model, loader, iteration=3):
    with EventStorage(iteration) as storage:
        found = validation_loss(model, loader)
        assert storage.latest() == {}
    return found


@pytest.mark.parametrize("loss", STATEFUL)
def test_it_changes_nothing(config, loss):
    """Nor does it depend on the random numbers before it."""
    cfg = config("MODEL.LONG_TAIL.LOSS.NAME", loss)
    model, loader = seeded_model(cfg).train(), build_validation_loader(cfg, "hooks_val")
    with EventStorage(0):
        model(next(iter(loader)))  # a state to keep
    before = everything(model)
    first = computed(model, loader)
    assert_same(everything(model), before)
    torch.manual_seed(5)
    assert computed(model, loader) == first
    assert set(first) == {"val_total_loss", "val_loss_cls", "val_loss_box_reg", "val_loss_rpn_cls", "val_loss_rpn_loc"}
    parts = sum(value for name, value in first.items() if name != "val_total_loss")
    assert first["val_total_loss"] == pytest.approx(parts, rel=1e-12)


def test_it_is_the_training_loss(config):
    """Of one image, with all of its anchors and RoIs, so that nothing is sampled, and without batch normalization."""
    words = ["MODEL.RPN.BATCH_SIZE_PER_IMAGE", 10**6, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 10**6]
    words += ["MODEL.RPN.POSITIVE_FRACTION", 1.0, "MODEL.ROI_HEADS.POSITIVE_FRACTION", 1.0]
    cfg = config(*words, "MODEL.LONG_TAIL.LOSS.NAME", "eql")
    model = seeded_model(cfg).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    loader = build_validation_loader(cfg, "hooks_val")
    found = computed(model, loader, iteration=3)
    with EventStorage(3), torch.no_grad():
        images = [model([image]) for batch in loader for image in batch]
    assert len(images) > 1
    for name in images[0]:
        assert found[f"val_{name}"] == pytest.approx(sum(float(losses[name]) for losses in images) / len(images))


def test_the_images_are_those_of_the_evaluation_without_augmentation(config):
    cfg = config("INPUT.RANDOM_FLIP", "horizontal", "INPUT.CROP.ENABLED", True, "INPUT.MIN_SIZE_TEST", 40)
    loader = build_validation_loader(cfg, "hooks_val")
    records = load_records("hooks_val")
    plain = build_detection_test_loader(dataset=records, mapper=DatasetMapper(cfg, False))
    for (one,), (other,) in zip(loader, plain, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert min(one["image"].shape[1:]) == 40
        assert len(one["instances"]) > 0


def test_a_phase_of_the_loss(config):
    """The iteration of the training decides; here re-weighting begins after half of it."""
    words = ["MODEL.LONG_TAIL.REWEIGHTING.WEIGHTS", "inverse_frequency", "MODEL.LONG_TAIL.REWEIGHTING.START", 0.5]
    cfg = config(*words, "MODEL.LONG_TAIL.LOSS.NAME", "softmax")
    model, loader = seeded_model(cfg), build_validation_loader(cfg, "hooks_val")
    early, late = computed(model, loader, 1), computed(model, loader, 5)
    assert early["val_loss_cls"] != late["val_loss_cls"]
    assert early["val_loss_rpn_cls"] == late["val_loss_rpn_cls"]


def test_decoupled_training_has_one_loss(config):
    cfg = config()
    model = seeded_model(cfg)
    train_classifier_only(model, "crt")
    found = computed(model, build_validation_loader(cfg, "hooks_val"))
    assert set(found) == {"val_total_loss", "val_loss_cls"}


NAMES = "val_loss_box_reg, val_loss_cls, val_loss_rpn_cls, val_loss_rpn_loc, val_total_loss"


def test_a_loss_that_does_not_exist_is_refused_before_the_training(config, tmp_path):
    """As the metric of the best checkpoint; the losses there are come from the network."""
    metric = "SOLVER.BEST_CHECKPOINT.METRIC"
    with pytest.raises(LtDetError, match=rf"is val_lss, .*{NAMES}\."):
        LongTailTrainer(config(*VAL, metric, "val_lss"))
    with pytest.raises(
        LtDetError, match=rf"is hooks_val/val_los_cls, .*hooks_val/{NAMES.replace(' ', ' hooks_val/')}\."
    ):
        LongTailTrainer(config(*VAL, metric, "hooks_val/val_los_cls", "DATASETS.TEST", ("hooks_val", "hooks_train")))
    with pytest.raises(LtDetError, match=rf"is val_los_cls, .*{NAMES}\."):
        equip(lazy_config(tmp_path, "train.val_loss=True", "train.best_checkpoint.metric=val_los_cls"))


def tried(cfg, model, metric):
    return try_validation_loss(model, build_validation_loader(cfg, "hooks_val"), "hooks_val", Metric(metric))


def test_trying_it_changes_nothing(config):
    cfg = config("MODEL.LONG_TAIL.LOSS.NAME", "eqlv2")
    model = seeded_model(cfg).train()
    before = everything(model)
    assert tried(cfg, model, "val_loss_cls")
    assert_same(everything(model), before)
    train_classifier_only(model, "crt")
    with pytest.raises(LtDetError, match=r"one of val_loss_cls, val_total_loss\."):
        tried(cfg, model, "val_loss_box_reg")


def test_losses_of_a_users_own_network(config, caplog):
    """They may depend on the image: a warning, because the name may come."""
    cfg = config()
    model = seeded_model(cfg).train()
    caplog.clear()  # what loading the config said

    class Own(type(model)):
        def forward(self, images):
            return {**super().forward(images), "loss_mine": torch.zeros(())}

    model.__class__ = Own
    assert tried(cfg, model, "val_loss_mine")
    assert not caplog.records
    assert tried(cfg, model, "val_loss_later")
    assert "is val_loss_later" in caplog.text
    assert "val_loss_mine" in caplog.text
    assert "Own" in caplog.text
    Own.forward = lambda self, images: 1 / 0
    with pytest.raises(LtDetError, match=r"VAL_LOSS.*'hooks_val'.*ZeroDivisionError"):
        tried(cfg, model, "val_loss_mine")


def logged(folder):
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return {line["iteration"]: line for line in lines if "val_total_loss" in line}


def test_in_a_training(config, tmp_path):
    """The best checkpoint by it has the lowest; the weights are those of a training without it."""

    def train(*overrides):
        seed_all_rng(0)  # the sampler's seed is drawn
        trainer = LongTailTrainer(config(*overrides))
        trainer.resume_or_load(resume=False)
        trainer.train()
        return trainer.model.state_dict()

    without = train("OUTPUT_DIR", tmp_path / "without")
    found = train(*VAL, "SOLVER.BEST_CHECKPOINT.METRIC", "val_total_loss", "OUTPUT_DIR", tmp_path / "with")
    assert_same(found, without)
    lines = logged(tmp_path / "with")
    assert set(lines) == {1, 3, 6}
    assert {"val_loss_cls", "bbox/AP"} <= set(lines[6])
    best = torch.load(tmp_path / "with" / "model_best.pth", weights_only=False)
    cfg = config()
    model = LongTailTrainer.build_model(cfg)
    model.load_state_dict(best["model"])
    assert best["best"]["value"] <= min(line["val_total_loss"] for line in lines.values())
    value = computed(model, build_validation_loader(cfg, "hooks_val"))["val_total_loss"]
    assert value == best["best"]["value"]


def test_a_finished_training_that_is_resumed(config, tmp_path):
    """The loss is computed before any step, and so before anything shows that the passes are accumulated."""
    for resume in (False, True):
        trainer = LongTailTrainer(config(*VAL, "SOLVER.ACCUMULATE", 2, "SOLVER.MAX_ITER", 2))
        trainer.resume_or_load(resume=resume)
        trainer.train()
    assert trainer.start_iter == trainer.max_iter == 2
    first, again = [
        line["val_total_loss"]
        for line in map(json.loads, (tmp_path / "metrics.json").read_text().splitlines())
        if "val_total_loss" in line
    ][-2:]
    assert first == again


def test_several_test_sets_and_the_average(config, tmp_path):
    """By the name of the set; with SOLVER.EMA it is the loss of the average."""
    sets = ("DATASETS.TEST", ("hooks_val", "hooks_train"), "SOLVER.MAX_ITER", 2, "SOLVER.EMA.ENABLED", True)
    trainer = LongTailTrainer(config(*VAL, *sets))
    trainer.resume_or_load(resume=False)
    trainer.train()
    file = tmp_path / "model_final.pth"
    model = LongTailTrainer.build_model(config())
    content = torch.load(file, weights_only=False)
    model.load_state_dict(content["model"] | content["trainer"]["hooks"]["EMAHook"]["weights"])
    (line,) = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()][-1:]
    loader = build_validation_loader(config(), "hooks_val")
    assert line["hooks_val/val_loss_cls"] == computed(model, loader, 2)["val_loss_cls"]
    assert "hooks_train/val_total_loss" in line


def compute_in_a_process(file, output):
    torch.set_num_threads(1)
    cfg = load_config(str(file), [*RANDOM_TRAINING, "SOLVER.STEPS", "()", "OUTPUT_DIR", output])
    cfg.MODEL.LONG_TAIL.LOSS.NAME = "eqlv2"
    model = seeded_model(cfg).train()
    found = computed(model, build_validation_loader(cfg, "hooks_val"))
    if found:  # in the main process
        (Path(output) / "found.json").write_text(json.dumps(found))


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 3])
def test_processes(hooks_config, config, tmp_path, processes):
    """The same to the last bit, with losses that exchange their state in training; three have two images each."""
    in_processes(processes, tmp_path, compute_in_a_process, str(hooks_config), str(tmp_path))
    cfg = config("MODEL.LONG_TAIL.LOSS.NAME", "eqlv2")
    alone = computed(seeded_model(cfg).train(), build_validation_loader(cfg, "hooks_val"))
    assert json.loads((tmp_path / "found.json").read_text()) == alone


def test_a_lazy_config(config, tmp_path):
    """With Detectron2's mapper its augmentations are exchanged for the evaluation's; another mapper is refused."""
    config()
    trainer = equip(lazy_config(tmp_path, "train.val_loss=True", "train.best_checkpoint.metric=val_loss_cls"))
    trainer.resume_or_load(resume=False)
    trainer.train()
    best = torch.load(tmp_path / "model_best.pth", weights_only=False)["best"]
    assert best["value"] <= min(line["val_loss_cls"] for line in logged(tmp_path).values())
    cfg = lazy_config(tmp_path, "train.val_loss=True")
    del cfg.dataloader.train.mapper.augmentations
    with pytest.raises(LtDetError, match=r"train\.val_loss needs dataloader\.train\.mapper"):
        equip(cfg)


class OwnMapper:
    def __call__(self, record):
        raise ValueError("this is a mapper of my own")


def test_a_loader_of_a_lazy_config(config, tmp_path):
    """dataloader.validation is used where there is one."""
    config()
    cfg = lazy_config(tmp_path, "train.val_loss=True")
    cfg.dataloader.validation = copy.deepcopy(cfg.dataloader.test)
    cfg.dataloader.validation.mapper = LazyCall(OwnMapper)()
    with pytest.raises(LtDetError, match=r"val_loss.*mapper of my own"):
        equip(cfg)


def test_records_without_what_is_learned_are_refused_at_the_start(config):
    """The test set of boxes would fail hours later, at the first evaluation."""

    class Boxes(LongTailTrainer):
        @classmethod
        def build_validation_loader(cls, cfg, dataset_name):
            def mapper(record):
                raise ValueError("no annotations")

            return build_detection_test_loader(dataset=load_records(dataset_name), mapper=mapper)

    with pytest.raises(LtDetError, match=r"TEST\.VAL_LOSS.*no annotations"):
        Boxes(config(*VAL))


class Plain(DefaultTrainer):
    """A user's own trainer, without equip, by the lines of the documentation."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {"bbox": {"AP": 1.0}}

    def build_hooks(self):
        loader = build_validation_loader(self.cfg, "hooks_val")
        hook = ValidationLoss(self.cfg.TEST.EVAL_PERIOD, lambda: validation_loss(self.model, loader))
        return [hook, *super().build_hooks()]


def test_a_users_own_trainer(config, tmp_path):
    trainer = Plain(config(*VAL))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert set(logged(tmp_path)) == {3, 6}
