"""lt_det's keys in users' own trainers: applied by `equip`, refused without it, and never in the way of prediction."""

import copy
import itertools
import json
import logging

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall as L
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper, build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultPredictor, DefaultTrainer, HookBase, SimpleTrainer
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.modeling import build_model
from detectron2.solver import build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

import lt_det
from lt_det.compat.detectron2 import image_source
from lt_det.data import loader as lt_loader
from lt_det.data.sampling.samplers import ClassAwareTrainingSampler, DeferredSampler, ShapeSampler
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.trainer_keys import TrainerKeys
from lt_det.training import LongTailTrainer, equip, load_lazy_config, mark_applied, train_classifier_only
from lt_det.training.accumulation import AccumulatingTrainer
from tests.helpers import REPOSITORY, first_images

METHOD = "MODEL.LONG_TAIL.SECOND_STAGE.METHOD"
PREDICTOR = "roi_heads.box_predictor."


@pytest.fixture(scope="module")
def files(mini, tmp_path_factory):
    folder = tmp_path_factory.mktemp("equip")
    for name, json_file, number in (("train", mini.train_json, 60), ("val", mini.val_json, 4)):
        (folder / f"{name}.json").write_text(json.dumps(first_images(json_file, number)))
    (folder / "config.yaml").write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_softmax.yaml
DATASETS:
  REGISTER:
    equip_train: {{JSON: {folder}/train.json, IMAGES: {mini.image_root}}}
    equip_val: {{JSON: {folder}/val.json, IMAGES: {mini.image_root}}}
  TRAIN: ("equip_train",)
  TEST: ("equip_val",)
MODEL: {{ROI_HEADS: {{NUM_CLASSES: 12}}}}
DATALOADER: {{NUM_WORKERS: 0}}
INPUT: {{MIN_SIZE_TRAIN: [48], MIN_SIZE_TEST: 48}}
SOLVER: {{IMS_PER_BATCH: 4, MAX_ITER: 2, STEPS: [1], WARMUP_ITERS: 1}}
TEST: {{EVAL_PERIOD: 0, RESAMPLES: 0}}
""")
    return folder


@pytest.fixture
def config(files, tmp_path):
    """A config as a project of a user's own reads it, with the README's two lines."""

    def config(*overrides):
        cfg = get_cfg()
        lt_det.add_lt_config(cfg)
        cfg.merge_from_file(str(files / "config.yaml"))
        cfg.merge_from_list([str(word) for word in ("OUTPUT_DIR", tmp_path, *overrides)])
        lt_det.register_from_config(cfg)
        return cfg

    return config


@pytest.fixture
def trained(config, tmp_path):
    """Weights of a finished training, which decoupled training needs."""
    (tmp_path / "first").mkdir()
    DetectionCheckpointer(build_model(config()), str(tmp_path / "first")).save("model_final")
    return tmp_path / "first" / "model_final.pth"


class Plain(DefaultTrainer):
    """As Detectron2's documentation has it: the user's own evaluator, and no more."""

    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        return LongTailEvaluator.from_config(cfg, dataset_name, output_folder)


class NoFlip:
    """A mapper of a user's own, which notes the images."""

    def __init__(self, cfg):
        self.mapper, self.seen = DatasetMapper(cfg, True, augmentations=[]), []

    def __call__(self, record):
        self.seen.append(record["image_id"])
        return self.mapper(record)


class WithLoader(DefaultTrainer):
    """As in Detectron2's projects: a mapper of the user's own in Detectron2's loader."""

    @classmethod
    def build_train_loader(cls, cfg):
        cls.mapper = NoFlip(cfg)
        return build_detection_train_loader(cfg, mapper=cls.mapper)


def run(trainer, resume=False):
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def simple_loop(cfg):
    """The heart of plain_train_net.py, with a SimpleTrainer."""
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    SimpleTrainer(model, build_detection_train_loader(cfg), optimizer).train(0, cfg.SOLVER.MAX_ITER)


def default_trainer(cfg):
    run(Plain(cfg))


IGNORED = [
    ((METHOD, "crt"), "SECOND_STAGE.METHOD is crt"),
    (("SOLVER.ACCUMULATE", 2), "SOLVER.ACCUMULATE is 2"),
    (("SOLVER.MAX_TO_KEEP", 2), "SOLVER.MAX_TO_KEEP is 2"),
    (("WANDB_PROJECT", "mine"), "WANDB_PROJECT is mine"),
    (("SOLVER.BEST_CHECKPOINT.METRIC", "bbox/AP"), "SOLVER.BEST_CHECKPOINT.METRIC is bbox/AP"),
    (("SOLVER.EARLY_STOPPING.PATIENCE", 2), "SOLVER.EARLY_STOPPING.PATIENCE is 2"),
    (("SOLVER.EMA.ENABLED", True), "SOLVER.EMA.ENABLED is True"),
    (("TEST.VAL_LOSS", True), "TEST.VAL_LOSS is True"),
    (("MODEL.COMPILE", True), "MODEL.COMPILE is True"),
    (
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.SAMPLER_START", 0.5),
        "SAMPLER_START is 0.5",
    ),
]


class TestRefused:
    @pytest.mark.parametrize(("overrides", "key"), IGNORED, ids=[overrides[0] for overrides, _ in IGNORED])
    @pytest.mark.parametrize("train", [default_trainer, simple_loop])
    def test_keys_that_a_trainer_ignores(self, config, train, overrides, key):
        with pytest.raises(LtDetError) as error:
            train(config(*overrides))
        assert key in str(error.value)
        assert "equip" in str(error.value)

    def test_all_ignored_keys_are_named(self, config):
        with pytest.raises(LtDetError) as error:
            simple_loop(config("SOLVER.ACCUMULATE", 2, "WANDB_PROJECT", "mine"))
        assert "SOLVER.ACCUMULATE is 2 and WANDB_PROJECT is mine" in str(error.value)

    def test_bfloat16_is_not_float16(self, config):
        keys = TrainerKeys.from_config(config("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"))
        with torch.autocast("cpu", dtype=torch.float16), pytest.raises(LtDetError, match=r"PRECISION is bfloat16"):
            keys.check()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            keys.check()
        TrainerKeys.from_config(config("SOLVER.AMP.ENABLED", True)).check()  # Detectron2's own precision
        TrainerKeys.from_config(config("SOLVER.AMP.PRECISION", "bfloat16")).check()  # AMP is off

    @pytest.mark.parametrize(
        ("overrides", "key"),
        [
            (("MODEL.LONG_TAIL.LOSS.NAME", "eql"), "LOSS.NAME is eql, but the network .*StandardROIHeads"),
            (("SOLVER.ACCUMULATE", 2), "SOLVER.ACCUMULATE is 2"),
        ],
    )
    def test_lt_dets_loader_with_the_heads_of_detectron2(self, config, overrides, key):
        class Trainer(Plain):
            build_train_loader = staticmethod(lt_loader.build_train_loader)

        cfg = config("MODEL.ROI_HEADS.NAME", "StandardROIHeads", *overrides)
        with pytest.raises(LtDetError, match=key):
            run(Trainer(cfg))

    def test_a_loss_that_no_head_uses_is_a_warning_when_the_config_is_read(self, config, caplog):
        config("MODEL.LONG_TAIL.LOSS.NAME", "eql")
        assert not caplog.records
        config("MODEL.LONG_TAIL.LOSS.NAME", "eql", "MODEL.ROI_HEADS.NAME", "StandardROIHeads")
        assert "LOSS.NAME is eql" in caplog.text

    def test_a_lazy_config_in_the_loop_of_detectron2s_tool(self, files, config, tmp_path):
        from detectron2.config import instantiate

        config()
        cfg = lazy_config(tmp_path, "train.accumulate=2")
        model = instantiate(cfg.model)
        cfg.optimizer.params.model = model
        loader, optimizer = instantiate(cfg.dataloader.train), instantiate(cfg.optimizer)
        with pytest.raises(LtDetError, match=r"SOLVER.ACCUMULATE is 2"):
            SimpleTrainer(model, loader, optimizer).train(0, 1)


class TestNotRefused:
    def test_prediction_and_evaluation(self, config, trained):
        keys = [word for overrides, _ in IGNORED for word in overrides]
        cfg = config(*keys, "MODEL.WEIGHTS", trained, "SOLVER.AMP.PRECISION", "bfloat16")
        predictor = DefaultPredictor(cfg)
        assert "instances" in predictor(np.zeros((48, 48, 3), np.uint8))
        loader = build_detection_test_loader(cfg, "equip_val")
        found = inference_on_dataset(predictor.model, loader, LongTailEvaluator.from_config(cfg, "equip_val"))
        assert "APr" in found["bbox"]

    def test_default_trainer_without_such_keys(self, config):
        assert run(Plain(config("MODEL.LONG_TAIL.LOSS.NAME", "eql"))).iter == 2

    def test_a_loop_that_applies_the_keys_itself(self, config, trained):
        """By the functions that the documentation names."""
        cfg = config(METHOD, "crt", "SOLVER.ACCUMULATE", 2, "WANDB_PROJECT", "mine")
        model = build_model(cfg)
        train_classifier_only(model, "crt")
        mark_applied(model, "WANDB_PROJECT")
        loader, optimizer = build_detection_train_loader(cfg), build_optimizer(cfg, model)
        AccumulatingTrainer(model, loader, optimizer, passes=2).train(0, 1)

    def test_a_deferred_sampler_of_the_users_own_loader(self, config):
        cfg = config("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.SAMPLER_START", 0.5)
        model = build_model(cfg)
        loader, optimizer = lt_loader.build_train_loader(cfg), build_optimizer(cfg, model)
        SimpleTrainer(model, loader, optimizer).train(0, 1)

    def test_keys_that_a_loop_with_detectron2s_heads_applies_itself(self, config):
        cfg = config("MODEL.ROI_HEADS.NAME", "StandardROIHeads", "SOLVER.ACCUMULATE", 2)
        model, loader = build_model(cfg), lt_loader.build_train_loader(cfg)
        mark_applied(model, "SOLVER.ACCUMULATE")  # no lt_det head in it, so nothing to mark
        with pytest.raises(LtDetError, match=r"SOLVER.ACCUMULATE is 2"):
            iter(loader)
        mark_applied(loader, "SOLVER.ACCUMULATE")
        SimpleTrainer(model, loader, build_optimizer(cfg, model)).train(0, 1)

    def test_bfloat16_in_a_loop_with_detectron2s_heads(self, config):
        """As in AMPTrainer, which needs a GPU: the loader is iterated outside of autocast."""
        words = ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"]
        cfg = config("MODEL.ROI_HEADS.NAME", "StandardROIHeads", *words)
        batch = next(iter(lt_loader.build_train_loader(cfg)))
        with torch.autocast("cpu", dtype=torch.bfloat16), EventStorage():
            assert "loss_cls" in build_model(cfg)(batch)

    def test_the_checked_loader_has_the_attributes_of_the_loader_inside(self, config):
        loader = lt_loader.build_train_loader(config("MODEL.ROI_HEADS.NAME", "StandardROIHeads"))
        assert (loader.num_workers, loader.batch_size) == (0, 4)
        assert copy.copy(loader).batch_size == 4
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = loader.no_such_name


class TestClass:
    def test_it_is_the_trainer_of_lt_det(self, config, tmp_path):
        """Same weights as LongTailTrainer, for a class that overrides what changes nothing."""
        cfg = config("SOLVER.ACCUMULATE", 2, "DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler")
        weights = []
        for kind in (LongTailTrainer, equip(Plain), equip(DefaultTrainer)):
            torch.manual_seed(0)
            weights.append(run(kind(cfg)).model.state_dict())
        for other in weights[1:]:
            assert all(torch.equal(value, other[name]) for name, value in weights[0].items())
        assert "bbox/APr" in (tmp_path / "metrics.json").read_text()

    def test_overrides_of_the_class_stay(self, config):
        class Counting(HookBase):
            steps = 0

            def after_step(self):
                Counting.steps += 1

        @equip
        class Trainer(Plain):
            """Mine."""

            def build_hooks(self):
                return [*super().build_hooks(), Counting()]

            @classmethod
            def build_optimizer(cls, cfg, model):
                return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)

        trainer = run(Trainer(config(METHOD, "")))
        assert (Trainer.__name__, Trainer.__doc__, Counting.steps) == ("Trainer", "Mine.", 2)
        assert isinstance(trainer.optimizer, torch.optim.Adam)

    def test_decoupled_training_with_the_users_own_optimizer(self, config, trained, tmp_path):
        @equip
        class Trainer(Plain):
            @classmethod
            def build_optimizer(cls, cfg, model):
                return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)

        cfg = config(METHOD, "crt", "MODEL.WEIGHTS", trained, "OUTPUT_DIR", tmp_path / "second")
        (tmp_path / "second").mkdir()
        after = run(Trainer(cfg)).model.state_dict()
        before = torch.load(trained)["model"]
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == {f"{PREDICTOR}cls_score.weight", f"{PREDICTOR}cls_score.bias"}

    def test_samplers_in_the_users_own_loader(self, config):
        """Of Detectron2's function, with the user's mapper; the stream is LongTailTrainer's."""
        words = ["DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler", "DATALOADER.SAMPLER_START", 1]
        cfg = config(*words, "SOLVER.ACCUMULATE", 2, "DATALOADER.ASPECT_RATIO_GROUPING", False)
        kind = equip(WithLoader)
        source = image_source(kind.build_train_loader(cfg))
        assert isinstance(source.sampler, DeferredSampler)
        assert isinstance(source.sampler.then, ClassAwareTrainingSampler)
        assert source.sampler.switch_after == 4
        torch.manual_seed(0)
        run(kind(cfg))
        assert len(kind.mapper.seen) == 8  # two steps of four images, in four passes
        late = ClassAwareTrainingSampler(lt_loader.load_records("equip_train"), seed=0)
        records = lt_loader.load_records("equip_train")
        assert kind.mapper.seen[4:] == [records[i]["image_id"] for i in itertools.islice(late, 4)]

    @pytest.mark.parametrize(
        ("name", "start"),
        [
            ("TrainingSampler", None),
            ("RepeatFactorTrainingSampler", None),
            ("RepeatFactorTrainingSampler", 0.5),
            ("ClassAwareTrainingSampler", None),
            ("ClassAwareTrainingSampler", 0.5),
        ],
    )
    def test_a_loader_that_comes_from_super(self, config, monkeypatch, name, start):
        """It has the sampler and the stream of LongTailTrainer's."""

        class Trainer(Plain):
            @classmethod
            def build_train_loader(cls, cfg):
                return super().build_train_loader(cfg)

        monkeypatch.setattr(comm, "shared_random_seed", lambda: 7)
        cfg = config("SEED", 3, "DATALOADER.SAMPLER_TRAIN", name, "SOLVER.ACCUMULATE", 2)
        cfg.DATALOADER.SAMPLER_START = start
        expected, found = (
            image_source(kind.build_train_loader(cfg)).sampler for kind in (LongTailTrainer, equip(Trainer))
        )
        assert type(found) is ShapeSampler
        assert type(found.sampler) is type(expected.sampler)
        assert found.batch_size == expected.batch_size == 2
        assert list(itertools.islice(found, 60)) == list(itertools.islice(expected, 60))

    def test_lt_dets_loader_with_the_heads_of_detectron2(self, config, monkeypatch):
        """The loader, which checks the keys, knows that the trainer applies them."""

        class Trainer(Plain):
            build_train_loader = staticmethod(lt_loader.build_train_loader)

        monkeypatch.setattr("lt_det.training.trainer.build_writers", lambda *args: [])  # wandb may not be installed
        words = ["MODEL.ROI_HEADS.NAME", "StandardROIHeads", "SOLVER.ACCUMULATE", 2, "WANDB_PROJECT", "mine"]
        words += ["DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler", "DATALOADER.SAMPLER_START", 0.5]
        cfg = config(*words)
        assert run(equip(Trainer)(cfg)).iter == 2

    def test_a_loader_with_the_users_own_sampler_is_not_resampled(self, config):
        class Trainer(Plain):
            @classmethod
            def build_train_loader(cls, cfg):
                records = lt_loader.load_records("equip_train")
                sampler = ClassAwareTrainingSampler(records, seed=0)
                return build_detection_train_loader(cfg, sampler=sampler)

        with pytest.raises(
            LtDetError, match=r"SAMPLER_TRAIN is ClassAwareTrainingSampler .* ClassAwareTrainingSampler"
        ):
            equip(Trainer)(config("DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler"))

    def test_a_step_of_the_users_own_does_not_accumulate(self, config):
        @equip
        class Trainer(Plain):
            def run_step(self):
                losses = self.model(next(self._trainer._data_loader_iter))
                sum(losses.values()).backward()

        with pytest.raises(LtDetError, match=r"SOLVER.ACCUMULATE is 2"):
            run(Trainer(config("SOLVER.ACCUMULATE", 2)))

    def test_hooks_that_do_not_come_from_super(self, config):
        @equip
        class Trainer(Plain):
            def build_hooks(self):
                return DefaultTrainer.build_hooks(self)

        with pytest.raises(LtDetError, match=r"Trainer.build_hooks does not call super"):
            Trainer(config())

    def test_a_loss_that_no_head_uses(self, config):
        cfg = config("MODEL.LONG_TAIL.LOSS.NAME", "eql", "MODEL.ROI_HEADS.NAME", "StandardROIHeads")
        with pytest.raises(LtDetError, match=r"LOSS.NAME is eql"):
            equip(Plain)(cfg)
        with pytest.raises(LtDetError, match=r"LOSS.NAME is eql"):
            equip(cfg, build_model=build_model)

    def test_another_evaluator(self, config, caplog):
        @equip
        class Trainer(DefaultTrainer):
            @classmethod
            def build_evaluator(cls, cfg, dataset_name, output_folder=None):
                return COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR)

        with caplog.at_level(logging.WARNING):
            Trainer(config())
        assert "COCOEvaluator does not evaluate by frequency bucket" in caplog.text
        with pytest.raises(LtDetError, match=r"TEST.BUCKETS .* COCOEvaluator"):
            Trainer(config("TEST.BUCKETS.EQUAL_GROUPS", 3))

    @pytest.mark.parametrize("given", [SimpleTrainer, 3])
    def test_anything_else(self, given):
        with pytest.raises(LtDetError, match="equip takes"):
            equip(given)

    @pytest.mark.parametrize(
        ("name", "hint"), [("bulid_model", "did you mean build_model"), ("loader", "build_train_loader")]
    )
    def test_a_method_that_default_trainer_does_not_have(self, config, name, hint):
        with pytest.raises(LtDetError, match=rf"{name}.*{hint}"):
            equip(config(), **{name: build_model})


class TestConfig:
    def test_yaml(self, config, tmp_path):
        """What a script with a SimpleTrainer does, with a model and a loader of its own."""
        cfg = config("SOLVER.ACCUMULATE", 2, "DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler")
        mine = build_model(cfg)
        mappers = []

        def build_train_loader(cfg):
            mappers.append(NoFlip(cfg))
            return build_detection_train_loader(cfg, mapper=mappers[-1])

        trainer = equip(cfg, build_model=lambda cfg: mine, build_train_loader=build_train_loader)
        assert trainer.model is mine
        run(trainer)
        assert len(mappers[0].seen) == 8
        assert "bbox/APr" in (tmp_path / "metrics.json").read_text()
        assert (tmp_path / "model_final.pth").is_file()
        assert run(equip(cfg), resume=True).start_iter == 2

    def test_lazy(self, config, tmp_path):
        config()
        cfg = lazy_config(tmp_path, "train.accumulate=2")
        trainer = run(equip(cfg))
        assert isinstance(trainer.trainer, AccumulatingTrainer)
        assert torch.load(tmp_path / "model_final.pth", weights_only=False)["iteration"] == 1
        assert json.loads((tmp_path / "class_stats.json").read_text())["source"].startswith("equip_train (")
        assert cfg.dataloader.train.total_batch_size == 4  # the caller's config is left alone


def lazy_config(output, *overrides):
    words = [f"train.output_dir={output}", "model.roi_heads.num_classes=12", "train.max_iter=2", "train.eval_period=0"]
    words += ["dataloader.train.dataset.names=equip_train", "dataloader.test.dataset.names=equip_val"]
    words += ["dataloader.evaluator.stats.datasets=[equip_train]", "dataloader.train.num_workers=0"]
    words += ["model.roi_heads.box_predictor.loss.datasets=[equip_train]", "dataloader.train.total_batch_size=4"]
    words += ["dataloader.evaluator.draws=0", "dataloader.test.num_workers=0"]
    return load_lazy_config(str(REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"), [*words, *overrides])


def test_lazy_twins_know_the_keys_of_their_trainer():
    keys = L(TrainerKeys.from_lazy)(train={"amp": {"enabled": True, "precision": "bfloat16"}, "second_stage": "lws"})
    from detectron2.config import instantiate

    with pytest.raises(LtDetError, match=r"SECOND_STAGE.METHOD is lws and SOLVER.AMP.PRECISION is bfloat16"):
        instantiate(keys).check()
    TrainerKeys.from_lazy({}).check()
