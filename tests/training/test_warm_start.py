"""Weights of one family of losses as the start of a training with another: the first loss, and what is kept."""

import pytest
import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from lt_det.data.loader import build_train_loader
from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, ClassificationLoss
from lt_det.trainer_keys import LOSS_OF_WEIGHTS as KEY
from lt_det.training import LongTailCheckpointer, build_checkpointer, equip, load_config, train_classifier_only
from lt_det.training.checkpointer import evaluation_checkpointer
from tests.helpers.models import NUM_CLASSES, seeded_model, small_config

BOX = "roi_heads.box_predictor."
FAMILIES = {
    "softmax": ("softmax", "linear"),
    "softmax scaled": ("softmax", "scaled"),
    "logit adjustment": ("logit_adjustment", "linear"),
    "softmax cosine": ("softmax", "cosine"),
    "ldam": ("ldam", "cosine"),
    "sigmoid": ("sigmoid", "linear"),
    "sigmoid cosine": ("sigmoid", "cosine"),
    "focal": ("focal", "linear"),
    "eqlv2": ("eqlv2", "linear"),
    "seesaw": ("seesaw", "cosine"),
    "seesaw linear": ("seesaw", "linear"),
    "ldam linear": ("ldam", "linear"),
}
STOCK = {"stock softmax": False, "stock sigmoid": True}


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level("INFO", "lt_det")


class Detector:
    """A mini_lvis detector and one batch of real images, of which each loss sees the same RoIs."""

    def __init__(self, config, folder):
        self.config, self.folder = config, folder
        self.batch = next(iter(build_train_loader(self.cfg("softmax", "linear"), in_equipped_trainer=True)))

    def cfg(self, loss, classifier, *overrides):
        words = ("MODEL.LONG_TAIL.LOSS.NAME", loss, "MODEL.LONG_TAIL.CLASSIFIER", classifier, "SOLVER.IMS_PER_BATCH", 4)
        return load_config(str(self.config), [str(word) for word in (*words, "SEED", 1, *overrides)])

    def model(self, loss, classifier):
        torch.manual_seed(0)
        return build_model(self.cfg(loss, classifier)).train()

    def first_loss(self, model):
        torch.manual_seed(0)
        with EventStorage(), torch.no_grad():
            return float(model(self.batch)["loss_cls"])

    def train_classifier(self, model):
        """Until it fits the batch, on the features of the first pass: all else stays as in the other detectors."""
        predictor, taken = model.roi_heads.box_predictor, []
        losses = predictor.losses
        handle = predictor.register_forward_pre_hook(lambda module, args: taken.append(args[0].flatten(1).detach()))
        predictor.losses = lambda predictions, proposals: taken.append(proposals) or losses(predictions, proposals)
        self.first_loss(model)
        handle.remove()
        del predictor.losses
        features, proposals = taken
        optimizer = torch.optim.SGD(predictor.cls_score.parameters(), lr=0.05, momentum=0.9)
        with EventStorage():
            for _ in range(100):
                optimizer.zero_grad()
                loss = predictor.losses(predictor(features), proposals)["loss_cls"]
                loss.backward()
                torch.nn.utils.clip_grad_norm_(predictor.cls_score.parameters(), 5.0)
                optimizer.step()
        return model


@pytest.fixture(scope="module")
def detector(sixty_config, tmp_path_factory):
    return Detector(sixty_config, tmp_path_factory.mktemp("warm"))


@pytest.fixture(scope="module")
def fresh(detector):
    """The first loss of each family from scratch."""
    return {name: detector.first_loss(detector.model(*family)) for name, family in FAMILIES.items()}


@pytest.fixture(scope="module")
def trained(detector):
    """A checkpoint of each family, and of Detectron2's own heads."""
    files = {}
    for name, family in FAMILIES.items():
        model = detector.train_classifier(detector.model(*family))
        LongTailCheckpointer(model, str(detector.folder)).save(name)
        files[name] = str(detector.folder / f"{name}.pth")
    for name, use_sigmoids in STOCK.items():
        folder = detector.folder / name
        folder.mkdir()
        # As Detectron2's own training writes them, without a word about the loss; the config is beside them.
        weights = torch.load(files["sigmoid" if use_sigmoids else "softmax"], weights_only=False)["model"]
        torch.save({"model": weights, "iteration": 9}, folder / "model_final.pth")
        heads = {"ROI_HEADS": {"NAME": "StandardROIHeads"}, "ROI_BOX_HEAD": {"USE_SIGMOID_CE": use_sigmoids}}
        (folder / "config.yaml").write_text(yaml.safe_dump({"MODEL": heads}))
        files[name] = str(folder / "model_final.pth")
    return files


@pytest.mark.parametrize("source", [*FAMILIES, *STOCK])
def test_first_loss_of_each_ordered_pair_of_families(detector, fresh, trained, source):
    for name, family in FAMILIES.items():
        model = detector.model(*family)
        LongTailCheckpointer(model, "").load(trained[source])
        loss = detector.first_loss(model)
        assert loss < 2 * fresh[name], f"{source} -> {name}: {loss} instead of {fresh[name]}"
        if source == name:
            assert loss < 0.8 * fresh[name], f"{name} starts again"


def test_weights_taken_as_they_are_would_explode(detector, fresh, trained):
    """What the tests above guard against is real."""
    model = detector.model("sigmoid", "linear")
    DetectionCheckpointer(model).load(trained["softmax"])
    assert detector.first_loss(model) > 5 * fresh["sigmoid"]


def test_scales_are_folded_into_the_weights(detector, trained):
    before = detector.model(*FAMILIES["softmax scaled"])
    LongTailCheckpointer(before).load(trained["softmax scaled"])
    assert (before.roi_heads.box_predictor.cls_score.scale != 1).any()
    after = detector.model(*FAMILIES["softmax"])
    LongTailCheckpointer(after).load(trained["softmax scaled"])
    torch.testing.assert_close(detector.first_loss(after), detector.first_loss(before))


@pytest.mark.parametrize("use_sigmoids", [False, True])
def test_heads_of_detectron2(tmp_path, stats_file, caplog, use_sigmoids):
    """StandardROIHeads as Detectron2 builds and saves them, here with the biases that training gives them."""
    stock = seeded_model(small_config("StandardROIHeads", **{"MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": use_sigmoids}))
    bias = torch.full((NUM_CLASSES + 1,), -4.0) if use_sigmoids else torch.linspace(-1, 1, NUM_CLASSES + 1)
    bias[-1] = 0 if use_sigmoids else 1
    stock.roi_heads.box_predictor.cls_score.bias.data = bias
    DetectionCheckpointer(stock, str(tmp_path)).save("stock")
    heads = seeded_model(small_config("LongTailROIHeads", "eql", **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file}))
    LongTailCheckpointer(heads).load(str(tmp_path / "stock.pth"))
    loaded = heads.roi_heads.box_predictor.cls_score.bias
    if use_sigmoids:
        assert torch.equal(loaded, bias)
    else:
        assert torch.equal(loaded, heads.roi_heads.box_predictor.loss.initial_bias())
    (line,) = lines(caplog)
    assert ("fresh" in line) != use_sigmoids
    assert KEY in line  # nothing said how they were trained


def lines(caplog):
    return [
        r.getMessage() for r in caplog.records if r.name.startswith("lt_det") and "box classifier" in r.getMessage()
    ]


def saved(tmp_path, loss, heads="LongTailROIHeads", *, recorded=True, **overrides):
    model = seeded_model(small_config(heads, loss, **overrides))
    for name, weight in model.named_parameters():
        if "cls_score" in name:
            weight.data = weight + torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    (LongTailCheckpointer if recorded else DetectionCheckpointer)(model, str(tmp_path)).save("before")
    return model, str(tmp_path / "before.pth")


@pytest.mark.parametrize("target", ["sigmoid", "ldam", "seesaw", "cdt", "softmax"])
def test_one_line_says_what_happens_to_all_stages_of_a_cascade(tmp_path, stats_file, caplog, target):
    _, file = saved(tmp_path, "softmax", "LongTailCascadeROIHeads")
    counts = {"MODEL.LONG_TAIL.CLASS_STATS": stats_file}
    model = seeded_model(small_config("LongTailCascadeROIHeads", target, **counts))
    initial = {name: weight.clone() for name, weight in model.state_dict().items()}
    LongTailCheckpointer(model).load(file)
    said = lines(caplog)
    assert len(said) == (target != "softmax")
    if said:
        assert file in said[0]
        assert target in said[0]
        assert ("fresh" in said[0]) == (target != "cdt")
    stages = [name for name in initial if name.endswith("cls_score.weight")]
    assert len(stages) == 3
    for name in stages:
        assert torch.equal(model.state_dict()[name], initial[name]) == (target in ("sigmoid", "ldam", "seesaw"))


def test_the_state_of_a_loss_starts_fresh_with_its_classifier(tmp_path):
    model = seeded_model(small_config(loss="eqlv2"))
    model.roi_heads.box_predictor.loss.positive_gradient += 7
    LongTailCheckpointer(model, str(tmp_path)).save("before")
    for classifier, state in (("linear", 7), ("cosine", 0)):
        model = seeded_model(small_config(loss="eqlv2", **{"MODEL.LONG_TAIL.CLASSIFIER": classifier}))
        LongTailCheckpointer(model).load(str(tmp_path / "before.pth"))
        assert (model.roi_heads.box_predictor.loss.positive_gradient == state).all()


def test_other_classes_start_fresh_in_one_line(tmp_path, caplog):
    _, file = saved(tmp_path, "softmax")
    model = seeded_model(small_config(**{"MODEL.ROI_HEADS.NUM_CLASSES": 3}))
    LongTailCheckpointer(model).load(file)
    (line,) = lines(caplog)
    for part in (file, "6 rows", "3 classes needs 4", "box regression"):
        assert part in line


@pytest.mark.parametrize("source", ["softmax", "seesaw"])
@pytest.mark.parametrize("recorded", [True, False])
def test_as_many_columns_of_another_layout(tmp_path, caplog, source, recorded):
    """Five classes and background are six columns, as are four classes with Seesaw's objectness."""
    number = "MODEL.ROI_HEADS.NUM_CLASSES"
    agnostic = {"MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True, "MODEL.LONG_TAIL.CLASSIFIER": "linear"}
    classes = {number: 5 if source == "softmax" else 4}
    model, _ = saved(tmp_path, source, **classes, **agnostic)
    bias = torch.tensor([0.5, -0.2, 0.1, -0.4, -1.0, 1.0])
    if source == "softmax":
        bias[-2] = -0.3
    model.roi_heads.box_predictor.cls_score.bias.data = bias
    (LongTailCheckpointer if recorded else DetectionCheckpointer)(model, str(tmp_path)).save("before")
    after = seeded_model(small_config(loss="seesaw", **{number: 4}, **agnostic))
    LongTailCheckpointer(after).load(str(tmp_path / "before.pth"))
    assert torch.equal(after.roi_heads.box_predictor.cls_score.bias, bias) == (source == "seesaw")
    assert [line for line in lines(caplog) if "fresh" in line] == lines(caplog)
    assert len(lines(caplog)) == (source == "softmax")


def test_a_backbone_is_no_other_family(tmp_path, caplog):
    model, _ = saved(tmp_path, "softmax")
    weights = {name: weight for name, weight in model.state_dict().items() if name.startswith("backbone")}
    torch.save({"model": weights}, tmp_path / "backbone.pth")
    LongTailCheckpointer(seeded_model(small_config(loss="sigmoid"))).load(str(tmp_path / "backbone.pth"))
    assert lines(caplog) == []


@pytest.mark.parametrize("how", ["recorded", "config beside", "option", "biases"])
@pytest.mark.parametrize("loss", ["sigmoid", "eqlv2"])
def test_sigmoids_stay_as_they_are(tmp_path, caplog, loss, how):
    model, file = saved(tmp_path, loss, recorded=how == "recorded")
    if how == "config beside":
        cfg = small_config(loss=loss)
        (tmp_path / "config.yaml").write_text(cfg.dump())
    overrides = {KEY: loss} if how == "option" else {}
    if how in ("config beside", "option"):
        model.roi_heads.box_predictor.cls_score.bias.data += 20  # nothing to see in the biases
        DetectionCheckpointer(model, str(tmp_path)).save("before")
    after = seeded_model(small_config(loss="focal", **overrides))
    LongTailCheckpointer(after, str(tmp_path / "new")).load(file)
    for name in ("weight", "bias"):
        name = f"{BOX}cls_score.{name}"
        assert torch.equal(after.state_dict()[name], model.state_dict()[name])
    assert "kept" in lines(caplog)[0]


def test_config_of_the_new_training_says_nothing_about_the_weights(tmp_path, caplog):
    """Training writes config.yaml into OUTPUT_DIR before it loads the weights, which may be there, too."""
    _, file = saved(tmp_path, "softmax", recorded=False)
    (tmp_path / "config.yaml").write_text(small_config(loss="sigmoid").dump())
    LongTailCheckpointer(seeded_model(small_config(loss="sigmoid")), str(tmp_path)).load(file)
    assert "fresh" in lines(caplog)[0]


@pytest.mark.parametrize("text", ["", "[", "MODEL: 3", "MODEL: {ROI_HEADS: {NAME: [1]}}", "\0"])
def test_an_unreadable_config_beside_the_weights_is_no_hint(tmp_path, caplog, text):
    _, file = saved(tmp_path, "softmax", recorded=False)
    (tmp_path / "config.yaml").write_text(text)
    LongTailCheckpointer(seeded_model(small_config(loss="sigmoid")), str(tmp_path / "new")).load(file)
    assert "fresh" in lines(caplog)[0]


@pytest.mark.parametrize("base", ["softmax", "sigmoid"])
def test_checkpoints_record_the_family_of_class_balanced(tmp_path, stats_file, caplog, base):
    options = {"MODEL.LONG_TAIL.LOSS.CLASS_BALANCED.BASE": base, "MODEL.LONG_TAIL.CLASS_STATS": stats_file}
    _, file = saved(tmp_path, "class_balanced", **options)
    LongTailCheckpointer(seeded_model(small_config(loss="sigmoid"))).load(file)
    assert ("kept" if base == "sigmoid" else "fresh") in lines(caplog)[0]


def test_older_checkpoints_that_name_the_class_of_the_loss(tmp_path, caplog):
    _, file = saved(tmp_path, "eqlv2")
    contents = torch.load(file, weights_only=False)
    contents["long_tail_box_heads"] = ["EQLv2 on Linear"]
    torch.save(contents, file)
    LongTailCheckpointer(seeded_model(small_config(loss="focal"))).load(file)
    assert "eqlv2" in lines(caplog)[0]
    assert "kept" in lines(caplog)[0]


def test_option_that_contradicts_the_checkpoint(tmp_path):
    _, file = saved(tmp_path, "softmax")
    model = seeded_model(small_config(loss="sigmoid", **{KEY: "focal"}))
    with pytest.raises(LtDetError, match=rf"{KEY} is focal.*softmax"):
        LongTailCheckpointer(model).load(file)
    small = small_config(**{KEY: "sotfmax"})
    with pytest.raises(LtDetError, match=rf"{KEY} is 'sotfmax'.*softmax"):
        seeded_model(small)


def test_resuming_takes_the_weights_as_they_are(tmp_path, caplog):
    """Also those of Detectron2's checkpointer, which do not say how they were trained."""
    model, _ = saved(tmp_path, "sigmoid", recorded=False)
    model.roi_heads.box_predictor.cls_score.bias.data += 20
    DetectionCheckpointer(model, str(tmp_path)).save("model_0000004", iteration=4)
    after = seeded_model(small_config(loss="sigmoid"))
    LongTailCheckpointer(after, str(tmp_path)).resume_or_load("", resume=True)
    assert torch.equal(after.roi_heads.box_predictor.cls_score.bias, model.roi_heads.box_predictor.cls_score.bias)
    assert lines(caplog) == []


def test_evaluation_never_changes_weights_and_refuses_another_family(tmp_path):
    model, file = saved(tmp_path, "softmax", recorded=False)
    with pytest.raises(LtDetError, match=rf"before\.pth was trained with softmax.*sigmoid.*{KEY}"):
        evaluation_checkpointer(seeded_model(small_config(loss="sigmoid"))).load(file)
    for overrides in ({"loss": "cdt"}, {"loss": "sigmoid", KEY: "focal"}):
        after = seeded_model(small_config(**overrides))
        evaluation_checkpointer(after).load(file)
        assert torch.equal(after.roi_heads.box_predictor.cls_score.bias, model.roi_heads.box_predictor.cls_score.bias)


def test_evaluation_of_sigmoids_without_a_record(tmp_path):
    """LOSS_OF_WEIGHTS is about the weights that the training started from."""
    model, file = saved(tmp_path, "sigmoid", recorded=False)
    model.roi_heads.box_predictor.cls_score.bias.data[-1] = 0
    DetectionCheckpointer(model, str(tmp_path)).save("before")
    for overrides in ({}, {KEY: "softmax"}):
        evaluation_checkpointer(seeded_model(small_config(loss="sigmoid", **overrides))).load(file)
    (tmp_path / "config.yaml").write_text(small_config(loss="sigmoid").dump())
    with pytest.raises(LtDetError, match=r"trained with sigmoid.*softmax"):
        evaluation_checkpointer(seeded_model(small_config())).load(file)


@pytest.mark.parametrize(("loss", "warns"), [("sigmoid", True), ("cdt", False)])
def test_lws_warns_of_a_classifier_of_another_family(tmp_path, caplog, loss, warns):
    _, file = saved(tmp_path, "softmax")
    model = seeded_model(small_config(loss=loss, **{"MODEL.LONG_TAIL.SECOND_STAGE.METHOD": "lws"}))
    train_classifier_only(model, "lws")
    build_checkpointer("lws", model, str(tmp_path / loss)).resume_or_load(file, resume=False)
    said = lines(caplog)
    assert len(said) == warns
    for part in ("softmax", "sigmoid", "crt") if warns else ():
        assert part in said[0]


@pytest.mark.parametrize("checkpointer", [DetectionCheckpointer, LongTailCheckpointer])
def test_a_trainer_with_detectron2s_checkpointer_warns(detector, trained, caplog, checkpointer):
    """Heads alone cannot know what weights are loaded for, but the first training pass sees that they do not fit."""
    model = detector.model("sigmoid", "linear")
    checkpointer(model).load(trained["softmax"])
    caplog.clear()
    for _ in range(2):
        detector.first_loss(model)
    said = lines(caplog)
    assert len(said) == (checkpointer is DetectionCheckpointer)
    if said:
        assert "LongTailCheckpointer" in said[0]


def test_equip_starts_from_weights_that_only_the_option_knows(detector, trained, tmp_path):
    weights = trained["stock softmax"]
    overrides = (
        "MODEL.WEIGHTS",
        weights,
        "OUTPUT_DIR",
        tmp_path,
        "SOLVER.MAX_ITER",
        1,
        "SOLVER.STEPS",
        "()",
        KEY,
        "focal",
    )
    trainer = equip(detector.cfg("sigmoid", "linear", *overrides))
    trainer.resume_or_load(resume=False)
    kept = trainer.model.roi_heads.box_predictor.cls_score.bias
    assert torch.equal(kept, torch.load(weights, weights_only=False)["model"][f"{BOX}cls_score.bias"])
    detector.first_loss(trainer.model)  # the key counts as applied


def test_detectron2s_checkpointer_would_ignore_the_option(detector, trained):
    model = build_model(detector.cfg("sigmoid", "linear", KEY, "softmax")).train()
    DetectionCheckpointer(model).load(trained["stock softmax"])
    with pytest.raises(LtDetError, match=rf"{KEY} is softmax.*equip"):
        detector.first_loss(model)


def test_a_custom_loss_is_softmax_unless_it_has_an_initial_bias():
    class Mine(ClassificationLoss):
        def scores(self, logits):
            return logits.softmax(dim=1)

    class MySigmoid(Mine):
        def initial_bias(self):
            return torch.full((self.num_logits,), -5.0)

    assert (Mine(3).family, MySigmoid(3).family) == ("softmax", "sigmoid")


@pytest.mark.parametrize("base", ["softmax", "sigmoid", "focal"])
def test_the_family_of_class_balanced_is_that_of_its_base(base):
    assert LOSSES["class_balanced"](3, base=base).family == ("softmax" if base == "softmax" else "sigmoid")
