"""A classifier trained alone, on the network of a finished training."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.solver import build_optimizer
from detectron2.utils.events import EventStorage
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training import (
    LongTailCheckpointer,
    LongTailTrainer,
    argument_parser,
    build_checkpointer,
    config_loading,
    lazy_trainer,
    load_config,
    setup,
    train_classifier_only,
)
from lt_det.training.launch import programs
from tests.helpers import REPOSITORY
from tests.helpers.gloo import in_processes
from tests.helpers.models import seeded_model, small_config, synthetic_batch

CLASSIFIER = "roi_heads.box_predictor.cls_score."
METHOD = "MODEL.LONG_TAIL.SECOND_STAGE.METHOD"
TRAINED = {"crt": {f"{CLASSIFIER}weight", f"{CLASSIFIER}bias"}, "lws": {f"{CLASSIFIER}scale"}}
TRAINED["meta"] = TRAINED["crt"]


def train(config, output, *overrides, resume=False):
    Path(output).mkdir(exist_ok=True)
    torch.manual_seed(0)  # the new classifier is then the same in any run
    trainer = LongTailTrainer(load_config(str(config), [str(word) for word in ("OUTPUT_DIR", output, *overrides)]))
    # The RoIs of an iteration are then the same in any run.
    trainer.model.register_forward_pre_hook(lambda model, args: torch.manual_seed(trainer.iter) and None)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def checkpoint(path):
    return torch.load(path, weights_only=False)


def changed(before, after):
    return {name for name, value in after.items() if name not in before or not torch.equal(value, before[name])}


@pytest.fixture(scope="module")
def config(sixty_config, tmp_path_factory):
    file = tmp_path_factory.mktemp("stages") / "config.yaml"
    file.write_text(f"""
_BASE_: {sixty_config}
MODEL: {{LONG_TAIL: {{LOSS: {{NAME: softmax}}}}}}
DATALOADER: {{SAMPLER_TRAIN: ClassAwareTrainingSampler}}
INPUT: {{MIN_SIZE_TRAIN: [48], MIN_SIZE_TEST: 48}}
SOLVER: {{IMS_PER_BATCH: 4, MAX_ITER: 4, STEPS: [3], CHECKPOINT_PERIOD: 2, WARMUP_ITERS: 1}}
SEED: 0
""")
    return file


@pytest.fixture(scope="module")
def first(config, tmp_path_factory):
    """The checkpoint of a finished training."""
    folder = tmp_path_factory.mktemp("first")
    train(config, folder)
    return folder / "model_final.pth"


@pytest.fixture(scope="module", params=["crt", "lws", "meta"])
def second(request, config, first, tmp_path_factory):
    """Method and folder of a decoupled training."""
    folder = tmp_path_factory.mktemp(request.param)
    train(config, folder, METHOD, request.param, "MODEL.WEIGHTS", first)
    return request.param, folder


def test_only_the_classifier_changes(first, second):
    method, folder = second
    before, after = checkpoint(first), checkpoint(folder / "model_final.pth")
    assert any("running_mean" in name for name in after["model"])
    assert changed(before["model"], after["model"]) == TRAINED[method]
    assert after["iteration"] == 3  # counted from 0
    optimizer = after["trainer"]["_trainer"]["optimizer"]
    assert len(optimizer["state"]) == len(TRAINED[method])  # no momentum and no weight decay of anything else
    scale = after["model"].get(f"{CLASSIFIER}scale", torch.zeros(13))
    assert (scale != 1).all()
    assert list(before["model"]) == [name for name in after["model"] if "scale" not in name]


def test_only_the_loss_that_trains_is_logged(second):
    last = json.loads((second[1] / "metrics.json").read_text().splitlines()[-1])
    assert last["total_loss"] > 0
    assert not {"loss_rpn_cls", "loss_rpn_loc", "loss_box_reg"} & set(last)


def test_norm_layers_keep_their_statistics_whatever_the_mode(config, first, tmp_path):
    overrides = [METHOD, "crt", "MODEL.WEIGHTS", first, "OUTPUT_DIR", tmp_path, "TEST.PRECISE_BN.ENABLED", True]
    trainer = LongTailTrainer(load_config(str(config), [str(word) for word in overrides]))
    trainer.model.eval()
    trainer.model.train()  # as after an evaluation
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert changed(checkpoint(first)["model"], trainer.model.state_dict()) == TRAINED["crt"]


def started(config, first, method, output, *overrides):
    """A trainer before its first iteration."""
    words = [METHOD, method, "MODEL.WEIGHTS", first, "OUTPUT_DIR", output, *overrides]
    output.mkdir(exist_ok=True)
    trainer = LongTailTrainer(load_config(str(config), [str(word) for word in words]))
    built = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.resume_or_load(resume=False)
    return trainer, built


def predict(model):
    model.eval()
    with torch.no_grad():
        return [output["instances"] for output in model(synthetic_batch(12))]


def test_lws_starts_with_the_scores_of_the_finished_training(config, first, tmp_path, caplog):
    trainer, _ = started(config, first, "lws", tmp_path)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]  # that there are no scales yet
    model = build_model(load_config(str(config)))
    model.load_state_dict(checkpoint(first)["model"])
    for mine, theirs in zip(predict(trainer.model), predict(model), strict=True):
        assert len(mine) > 0
        assert torch.equal(mine.scores, theirs.scores)
        assert torch.equal(mine.pred_boxes.tensor, theirs.pred_boxes.tensor)


def test_lws_goes_on_from_the_scales_of_lws(config, first, tmp_path):
    trainer, _ = started(config, first, "lws", tmp_path / "second")
    with torch.no_grad():
        trainer.model.roi_heads.box_predictor.cls_score.scale += 0.5
    trainer.checkpointer.save("model_final")
    third, _ = started(config, tmp_path / "second" / "model_final.pth", "lws", tmp_path / "third")
    assert torch.equal(third.model.roi_heads.box_predictor.cls_score.scale, torch.full((13,), 1.5))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "seesaw"])
def test_crt_starts_with_the_classifier_of_the_constructor(config, first, tmp_path, loss):
    trainer, built = started(config, first, "crt", tmp_path, "MODEL.LONG_TAIL.LOSS.NAME", loss)
    weights, trained = trainer.model.state_dict(), checkpoint(first)["model"]
    for name in weights:
        if name.startswith((CLASSIFIER, "roi_heads.box_predictor.loss.")):
            assert torch.equal(weights[name], built[name]), name
        else:
            assert torch.equal(weights[name], trained[name]), name
    if loss == "softmax":
        assert not torch.equal(weights[f"{CLASSIFIER}weight"], trained[f"{CLASSIFIER}weight"])
    if loss == "sigmoid":
        torch.testing.assert_close(weights[f"{CLASSIFIER}bias"][:12].sigmoid(), torch.full((12,), 0.001))


@pytest.mark.parametrize("method", ["crt", "lws"])
def test_the_state_of_the_loss_starts_new(config, tmp_path, method):
    eqlv2 = ["MODEL.LONG_TAIL.LOSS.NAME", "eqlv2"]
    (tmp_path / "first").mkdir()
    model = build_model(load_config(str(config), eqlv2))
    model.roi_heads.box_predictor.loss.positive_gradient += 5
    LongTailCheckpointer(model, str(tmp_path / "first")).save("model_final")
    trainer, built = started(config, tmp_path / "first" / "model_final.pth", method, tmp_path / "second", *eqlv2)
    loss = trainer.model.roi_heads.box_predictor.loss
    assert torch.equal(loss.positive_gradient, built["roi_heads.box_predictor.loss.positive_gradient"])


def test_an_interrupted_decoupled_training_is_resumed(config, first, second, tmp_path):
    method, undisturbed = second
    shutil.copy(undisturbed / "model_0000001.pth", tmp_path)
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    train(config, tmp_path, METHOD, method, "MODEL.WEIGHTS", "gone.pth", resume=True)
    after, expected = (checkpoint(folder / "model_final.pth") for folder in (tmp_path, undisturbed))
    assert after["iteration"] == expected["iteration"]
    assert not changed(expected["model"], after["model"])
    assert changed(checkpoint(tmp_path / "model_0000001.pth")["model"], after["model"]) == TRAINED[method]


def test_resuming_in_a_new_folder_starts(config, first, second, tmp_path):
    """A SLURM job that may be queued again gives --resume always, also the first time."""
    method, expected = second
    train(config, tmp_path, METHOD, method, "MODEL.WEIGHTS", first, resume=True)
    weights = (checkpoint(folder / "model_final.pth")["model"] for folder in (tmp_path, expected))
    assert not changed(*weights)


def test_a_finished_training_says_so(config, second, tmp_path, caplog):
    method, folder = second
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    final = (tmp_path / "model_final.pth").rename(tmp_path / "model_0000003.pth")  # as if killed before it wrote that
    (tmp_path / "last_checkpoint").write_text(final.name)
    train(config, tmp_path, METHOD, method, resume=True)
    written, expected = checkpoint(tmp_path / "model_final.pth"), checkpoint(folder / "model_final.pth")
    assert written["iteration"] == expected["iteration"] == 3
    assert not changed(expected["model"], written["model"])
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert f"the training in {tmp_path} is finished, with 4 iterations done of 4." in caplog.text


def test_the_finished_training_is_not_evaluated_as_the_decoupled_one(config, first, second):
    method, folder = second
    options = ["MODEL.WEIGHTS", str(first), METHOD, method, "OUTPUT_DIR", str(folder)]
    with pytest.raises(LtDetError, match=rf"SECOND_STAGE\.METHOD {method}|was trained with"):
        LongTailTrainer.evaluate(load_config(str(config), options))


def train_on_two(config, first, folder):
    train(config, folder, METHOD, "crt", "MODEL.WEIGHTS", first, "SOLVER.ACCUMULATE", 2)


def test_two_processes(config, first, tmp_path):
    in_processes(2, tmp_path, train_on_two, config, first, tmp_path)
    assert changed(checkpoint(first)["model"], checkpoint(tmp_path / "model_final.pth")["model"]) == TRAINED["crt"]


@pytest.mark.parametrize("method", ["crt", "lws"])
def test_cascade_trains_three_classifiers(method, tmp_path):
    before = seeded_model(small_config("LongTailCascadeROIHeads"))
    LongTailCheckpointer(before, str(tmp_path)).save("model_final")
    cfg = small_config("LongTailCascadeROIHeads", **{METHOD: method, "SOLVER.BASE_LR": 0.1})
    model = build_model(cfg)
    train_classifier_only(model, method)
    checkpointer = build_checkpointer(method, model, str(tmp_path / "second"))
    checkpointer.resume_or_load(str(tmp_path / "model_final.pth"), resume=False)
    model.train()
    optimizer = build_optimizer(cfg, model)
    with EventStorage():
        losses = model(synthetic_batch())
    assert set(losses) == {"loss_cls_stage0", "loss_cls_stage1", "loss_cls_stage2"}
    sum(losses.values()).backward()
    optimizer.step()
    parts = ("scale",) if method == "lws" else ("weight", "bias")
    expected = {f"roi_heads.box_predictor.{k}.cls_score.{part}" for k in range(3) for part in parts}
    assert changed(before.state_dict(), model.state_dict()) == expected


def test_starting_from_a_detector_of_detectron2(tmp_path):
    stock = seeded_model(small_config("StandardROIHeads"))
    weights = {name: value.numpy() for name, value in stock.state_dict().items()}
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps({"model": weights, "__author__": "Detectron2 Model Zoo"}))
    model = build_model(small_config(**{METHOD: "lws"}))
    train_classifier_only(model, "lws")
    build_checkpointer("lws", model, str(tmp_path / "second")).resume_or_load(str(tmp_path / "zoo.pkl"), resume=False)
    assert changed(stock.state_dict(), model.state_dict()) == TRAINED["lws"]


@pytest.fixture
def lazy_tool(config, first, tmp_path, monkeypatch):
    """`lt-det train` of a LazyConfig without its evaluation, on the data of `config`."""
    load_config(str(config))  # registers the data
    monkeypatch.setattr(config_loading, "_set_up_logs", lambda *args: None)  # later tests would log there, too
    monkeypatch.setattr(lazy_trainer, "_evaluate", lambda cfg, model: {})
    monkeypatch.setattr(programs, "write_report", lambda folder: Path(folder) / "report.md")

    def run(*overrides, flags=()):
        words = [f"train.output_dir={tmp_path}", f"train.init_checkpoint={first}", "model.roi_heads.num_classes=12"]
        words += ["dataloader.train.dataset.names=streamed", "dataloader.test.dataset.names=streamed"]
        words += ["dataloader.evaluator.stats.datasets=[streamed]", "dataloader.train.num_workers=0"]
        words += ["model.roi_heads.box_predictor.loss.datasets=[streamed]", "dataloader.train.total_batch_size=4"]
        lazy = REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"
        programs.train_lazy(argument_parser().parse_args(["--config", str(lazy), *flags, *words, *overrides]))
        return checkpoint(tmp_path / "model_final.pth")

    return run


@pytest.mark.filterwarnings("ignore:2 of 12 classes have no images")
@pytest.mark.parametrize("method", ["crt", "lws", "meta"])
def test_lazy_config(lazy_tool, first, caplog, method):
    stage = [f"train.second_stage={method}", "train.max_iter=2"]
    if method == "lws":
        stage += ["+model.roi_heads.box_predictor.classifier=scaled"]
    if method == "meta":
        stage += ["+dataloader.meta=${dataloader.train}", "dataloader.train.mapper.is_train=True"]
    after = lazy_tool(*stage)
    assert after["iteration"] == 1
    weights = {name: value for name, value in after["model"].items() if ".loss." not in name}  # EQL's, of its counts
    assert changed(checkpoint(first)["model"], weights) == TRAINED[method]
    again = lazy_tool(*stage, "train.max_iter=3", flags=["--resume"])
    assert again["iteration"] == 2
    lazy_tool(*stage, "train.max_iter=3", flags=["--resume"])
    assert "is finished, with 3 iterations done of 3" in caplog.text


class TestMistakes:
    @pytest.fixture
    def refused(self, config, first, tmp_path):
        """What `setup` says, before it writes anything into OUTPUT_DIR."""

        def refused(*overrides, flags=(), output=None):
            output = output or tmp_path / "out"
            words = ["MODEL.WEIGHTS", first, METHOD, "crt", "OUTPUT_DIR", output, *overrides]
            args = argument_parser().parse_args(["--config", str(config), *flags, *map(str, words)])
            before = sorted(output.glob("*"))
            with pytest.raises(LtDetError) as error:
                setup(args)
            assert sorted(output.glob("*")) == before
            return str(error.value)

        return refused

    def test_unknown_method(self, refused):
        assert "METHOD (LazyConfig: train.second_stage) is 'tau'; write crt" in refused(METHOD, "tau")

    @pytest.mark.parametrize("flags", [(), ("--resume",)])
    def test_the_folder_of_the_finished_training(self, refused, first, flags):
        said = refused(flags=flags, output=first.parent)
        assert f"OUTPUT_DIR {first.parent} holds model_0000001.pth of another training" in said
        assert "set OUTPUT_DIR to a new folder" in said

    @pytest.mark.parametrize("flags", [(), ("--resume",)])
    def test_the_folder_of_another_decoupled_training(self, refused, second, flags):
        method, folder = second
        other = {"crt": "lws", "lws": "meta", "meta": "crt"}[method]
        said = refused(METHOD, other, flags=flags, output=folder)
        assert f"decoupled training ({other})" in said

    @pytest.mark.parametrize("flags", [(), ("--resume",)])
    def test_no_finished_training(self, refused, flags):
        assert "needs the network of a finished training; set MODEL.WEIGHTS" in refused(
            "MODEL.WEIGHTS", "", flags=flags
        )

    @pytest.mark.parametrize("flags", [(), ("--resume",)])
    def test_a_plain_training_in_the_folder_of_a_decoupled_one(self, refused, second, flags):
        method, folder = second
        said = refused(METHOD, "", flags=flags, output=folder)
        assert f"OUTPUT_DIR {folder} holds a decoupled training ({method})" in said

    def test_a_plain_training_resumed_without_setup(self, config, second, tmp_path):
        method, folder = second
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        with pytest.raises(LtDetError, match=rf"saved by decoupled training \({method}\)"):
            train(config, tmp_path, resume=True)

    def loading(self, config, weights, tmp_path, *overrides):
        with pytest.raises(LtDetError) as error:
            train(config, tmp_path / "out", METHOD, "crt", "MODEL.WEIGHTS", weights, *overrides)
        return str(error.value)

    def edited(self, first, tmp_path, edit):
        contents = checkpoint(first)
        edit(contents)
        torch.save(contents, tmp_path / "edited.pth")
        return tmp_path / "edited.pth"

    def test_a_backbone_only(self, config, first, tmp_path):
        def behead(contents):
            contents["model"] = {k: v for k, v in contents["model"].items() if k.startswith("backbone.")}

        said = self.loading(config, self.edited(first, tmp_path, behead), tmp_path)
        assert re.search(r"edited\.pth .*no trained box head .*roi_heads\.box_predictor\.cls_score\.weight", said)

    def test_a_network_without_its_proposals(self, config, first, tmp_path):
        def cut(contents):
            contents["model"] = {k: v for k, v in contents["model"].items() if "proposal_generator" not in k}

        said = self.loading(config, self.edited(first, tmp_path, cut), tmp_path)
        assert "edited.pth lacks" in said
        assert "proposal_generator." in said

    def test_another_number_of_classes(self, config, first, tmp_path):
        def widen(contents):
            contents["model"][f"{CLASSIFIER}weight"] = torch.zeros(63, 256)

        said = self.loading(config, self.edited(first, tmp_path, widen), tmp_path)
        assert "edited.pth has 63 rows, not those of 12 classes" in said

    def test_another_network(self, config, first, tmp_path):
        said = self.loading(config, first, tmp_path, "MODEL.ROI_BOX_HEAD.FC_DIM", 64)
        assert "does not fit this model: roi_heads.box_head.fc1.weight is [256, " in said

    def test_lws_of_a_cosine_classifier(self, config, first, tmp_path):
        lws = [METHOD, "lws"]
        said = self.loading(config, first, tmp_path, *lws, "MODEL.LONG_TAIL.LOSS.NAME", "seesaw")
        assert "cosine classifier (MODEL.LONG_TAIL.CLASSIFIER auto, loss seesaw); use crt" in said

        def say_cosine(contents):
            contents["long_tail_box_heads"] = ["SoftmaxCrossEntropy on CosineClassifier"]

        said = self.loading(config, self.edited(first, tmp_path, say_cosine), tmp_path, *lws)
        assert "edited.pth has a cosine classifier" in said

    def test_a_model_that_is_not_frozen(self, first, tmp_path):
        checkpointer = build_checkpointer("crt", seeded_model(small_config()), str(tmp_path))
        with pytest.raises(LtDetError, match=r"lt_det\.training\.train_classifier_only\(model, 'crt'\)"):
            checkpointer.resume_or_load(str(first), resume=False)

    def test_heads_of_detectron2(self):
        with pytest.raises(LtDetError, match=r"needs a box head of lt_det; set MODEL\.ROI_HEADS\.NAME"):
            train_classifier_only(nn.Linear(2, 2), "crt")
        with pytest.raises(LtDetError, match='give LongTailPredictor classifier="scaled"'):
            train_classifier_only(seeded_model(small_config()), "lws")
