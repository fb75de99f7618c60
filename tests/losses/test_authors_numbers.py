"""Losses against numbers produced by the authors' own code (see each fixture's "source").

Classification code has C classes and no background. There lt_det's K+1 columns get a last one that no row is labeled
with and whose logit is so low that it has no effect; its gradient is zero. The last test has the form without it.
"""

import json
import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from lt_det.layers import CosineClassifier
from lt_det.losses import (
    CDT,
    EQL,
    LDAM,
    ClassBalanced,
    ClassReweighting,
    EQLv2,
    InfluenceBalanced,
    LabelSmoothing,
    LogitAdjustment,
    Seesaw,
    SigmoidCrossEntropy,
    SigmoidFocal,
    effective_number_weights,
    federated_loss,
    plain_formulas,
    seql_loss,
)

pytestmark = pytest.mark.usefixtures("path")

FIXTURES = Path(__file__).parent / "fixtures"
ABSENT = -1e4


@pytest.fixture(params=["plain", "fused"])
def path(request):
    """Both the formulas and the fast path of the sigmoid losses have the authors' numbers."""
    with plain_formulas() if request.param == "plain" else nullcontext():
        yield


def fixtures(*families):
    """Names of the small and the long-tailed case of each family."""
    names = [f"{family}_{case}" for family in families for case in ("small", "longtail")]
    found = [name for name in names if (FIXTURES / f"{name}.json").is_file()]
    assert len({name.rsplit("_", 1)[0] for name in found}) == len(families), families
    return pytest.mark.parametrize("name", found)


def load(name):
    return json.loads((FIXTURES / f"{name}.json").read_text())


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def with_last_column(logits, value):
    return torch.cat([logits, torch.full((len(logits), 1), value, dtype=torch.float64)], dim=1).requires_grad_()


def check(value, expected_loss, pairs, rel=1e-10):
    """Loss, and each (computed, expected) gradient."""
    assert value.item() == pytest.approx(expected_loss, rel=rel)
    for computed, expected in pairs:
        scale = tensor(expected).abs().max().item()
        torch.testing.assert_close(computed, tensor(expected), rtol=rel, atol=rel * scale)


def check_classification(loss, fixture, rel=1e-10, factor=1.0):
    """A loss on the fixture's classes, with the absent background column."""
    inputs = fixture["inputs"]
    logits = with_last_column(tensor(inputs["logits"]), ABSENT)
    value = factor * loss(logits, torch.tensor(inputs["labels"]))
    value.backward()
    check(value, fixture["expected"]["loss"], [(logits.grad[:, :-1], fixture["expected"]["grad_logits"])], rel)
    assert not logits.grad[:, -1].any()


@fixtures("eql")
def test_eql(name):
    fixture = load(name)
    frequency = tensor(fixture["inputs"]["image_frequency"])
    threshold = fixture["hyper"]["lambda_"]
    images = 10**9  # the fixture has frequencies, the loss takes counts
    loss = EQL(len(frequency), image_counts=frequency * images, num_images=images, frequency_threshold=threshold)
    logits = with_last_column(tensor(fixture["inputs"]["logits"]), 3.0)  # the unused column
    value = loss(logits, torch.tensor(fixture["inputs"]["labels"]))
    value.backward()
    check(value, fixture["expected"]["loss"], [(logits.grad[:, :-1], fixture["expected"]["grad_logits"])])
    assert not logits.grad[:, -1].any()


@fixtures("sigmoid_ce_d2", "fed")
def test_sigmoid_and_federated(name):
    fixture = load(name)
    inputs = fixture["inputs"]
    logits, labels = tensor(inputs["logits"]).requires_grad_(), torch.tensor(inputs["labels"])
    num_classes = logits.shape[1] - 1
    if inputs["fed_classes"] is None:
        value = SigmoidCrossEntropy(num_classes)(logits, labels)
    else:
        sampled = torch.zeros(num_classes + 1, dtype=torch.bool)
        sampled[torch.tensor(inputs["fed_classes"])] = True
        value = federated_loss(logits[:, :num_classes], labels, sampled[:num_classes])
    value.backward()
    check(value, fixture["expected"]["loss"], [(logits.grad, fixture["expected"]["grad_logits"])])


@fixtures("balanced_softmax", "balanced_softmax_bot")
def test_logit_adjustment(name):
    fixture = load(name)
    counts = fixture["inputs"]["class_counts"]
    check_classification(LogitAdjustment(len(counts), instance_counts=counts), fixture)


@fixtures("cdt_bot")
def test_cdt(name):
    fixture = load(name)
    counts = fixture["inputs"]["class_counts"]
    loss = CDT(len(counts), instance_counts=counts, gamma=fixture["hyper"]["gamma"])
    check_classification(loss, fixture)
    torch.testing.assert_close((loss.imbalance**loss.gamma)[:-1], tensor(fixture["hyper"]["temperatures"]))


@fixtures("label_smooth_bot", "label_smooth_eod")
def test_label_smoothing(name):
    """The fixture's last class stands for background: it is a class like any other here."""
    fixture = load(name)
    logits = tensor(fixture["inputs"]["logits"]).requires_grad_()
    loss = LabelSmoothing(logits.shape[1] - 1, smoothing=fixture["hyper"]["epsilon"])
    value = loss(logits, torch.tensor(fixture["inputs"]["labels"]))
    value.backward()
    check(value, fixture["expected"]["loss"], [(logits.grad, fixture["expected"]["grad_logits"])])


@fixtures("seql_bot_g09", "seql_bot_g10")
def test_seql_with_the_recorded_draw(name):
    fixture = load(name)
    inputs, labels = fixture["inputs"], torch.tensor(fixture["inputs"]["labels"])
    logits = tensor(inputs["logits"]).requires_grad_()
    ignored = torch.tensor(inputs["beta"]).bool() & torch.tensor(fixture["hyper"]["tail_mask"]).bool()
    value = seql_loss(logits, labels, ignored)
    value.backward()
    check(value, fixture["expected"]["loss"], [(logits.grad, fixture["expected"]["grad_logits"])])


@fixtures("focal_fvcore_a025_g05", "focal_fvcore_a025_g20", "focal_fvcore_am1_g20")
@pytest.mark.parametrize("divide_by", ["foreground", "rois"])
def test_focal_as_fvcore(name, divide_by):
    fixture = load(name)
    hyper, expected = fixture["hyper"], fixture["expected"]
    alpha = None if hyper["alpha"] < 0 else hyper["alpha"]
    logits = with_last_column(tensor(fixture["inputs"]["logits"]), 3.0)
    loss = SigmoidFocal(logits.shape[1] - 1, alpha=alpha, gamma=hyper["gamma"], divide_by=divide_by)
    number = max(1, hyper["num_pos"]) if divide_by == "foreground" else hyper["N"]
    value = loss(logits, torch.tensor(fixture["inputs"]["labels"])) * number
    value.backward()
    check(value, expected["loss_sum"], [(logits.grad[:, :-1], expected["grad_logits_of_sum"])])


@fixtures("focal_bot_sigmoid")
def test_focal_as_bag_of_tricks(name):
    fixture = load(name)
    num_classes = len(fixture["inputs"]["class_counts"])
    loss = SigmoidFocal(num_classes, alpha=None, gamma=fixture["hyper"]["gamma"], divide_by="rois")
    check_classification(loss, fixture)


@fixtures("cb_tf_softmax", "cb_tf_sigmoid", "cb_tf_focal_g05", "cb_tf_focal_g20", "cb_bot_softmax", "cb_bot_focal_g05")
def test_class_balanced(name):
    fixture = load(name)
    counts, hyper = fixture["inputs"]["class_counts"], fixture["hyper"]
    base = name.split("_")[2]
    loss = ClassBalanced(
        len(counts),
        instance_counts=counts,
        base=base,
        beta=hyper["beta"],
        gamma=hyper.get("gamma", 0.0),
        divide_by_weights="bot_softmax" in name,
    )
    torch.testing.assert_close(loss.class_weight[:-1], tensor(hyper["class_weights"]), rtol=1e-10, atol=0)
    # tf.losses reduces softmax in float32
    check_classification(loss, fixture, rel=1e-7 if "tf_softmax" in name else 1e-10)


@fixtures("ldam_plain", "ldam_drw")
def test_ldam(name):
    fixture = load(name)
    counts, hyper = fixture["inputs"]["class_counts"], fixture["hyper"]
    drw = hyper["class_weights"] is not None
    loss = LDAM(
        len(counts),
        instance_counts=counts,
        max_margin=hyper["max_m"],
        scale=hyper["s"],
    )
    if drw:
        loss = ClassReweighting(loss, effective_number_weights(counts, hyper["beta"]), start=0.8)
    loss.progress = 0.9
    torch.testing.assert_close(loss.margins[:-1], tensor(hyper["margins"]), rtol=1e-10, atol=0)
    labels = torch.tensor(fixture["inputs"]["labels"])
    # The authors divide by the sum of the rows' weights, lt_det by N.
    factor = len(labels) / loss.class_weight[labels].sum().item() if drw else 1.0
    check_classification(loss, fixture, rel=1e-10, factor=factor)


@fixtures("ldam_normedlinear")
def test_ldam_with_the_cosine_classifier(name):
    fixture = load(name)
    inputs, expected = fixture["inputs"], fixture["expected"]
    features, counts = tensor(inputs["features"]).requires_grad_(), inputs["class_counts"]
    weight = tensor(inputs["weight_in_by_out"])
    layer = CosineClassifier(*weight.shape, scale=1.0, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(weight.T)
    loss = LDAM(len(counts), instance_counts=counts, max_margin=fixture["hyper"]["max_m"], scale=fixture["hyper"]["s"])
    cosines = layer(features)
    torch.testing.assert_close(cosines, tensor(expected["cosines"]))
    absent = torch.full((len(cosines), 1), ABSENT, dtype=torch.float64)
    value = loss(torch.cat([cosines, absent], dim=1), torch.tensor(inputs["labels"]))
    value.backward()
    pairs = [(features.grad, expected["grad_features"]), (layer.weight.grad.T, expected["grad_weight"])]
    check(value, expected["loss"], pairs)


@fixtures("ib", "ib_bot", "ibfocal")
@pytest.mark.parametrize("detach_factor", [False, True])
def test_influence_balanced(name, detach_factor):
    fixture = load(name)
    inputs, hyper, expected = fixture["inputs"], fixture["hyper"], fixture["expected"]
    if detach_factor and "grad_logits_if_factor_detached" not in expected:
        pytest.skip("the fixture has no gradient for a detached factor")
    loss = InfluenceBalanced(
        len(inputs["class_counts"]),
        instance_counts=inputs["class_counts"],
        alpha=hyper["alpha"],
        epsilon=hyper["epsilon"],
        focal_gamma=hyper.get("gamma"),
        detach_factor=detach_factor,
        detach_features=False,
    )
    loss.progress = 1.0
    logits = with_last_column(tensor(inputs["logits"]), ABSENT)
    features = tensor(inputs["features"]).requires_grad_()
    value = loss(logits, torch.tensor(inputs["labels"]), features)
    value.backward()
    if detach_factor:
        check(value, expected["loss"], [(logits.grad[:, :-1], expected["grad_logits_if_factor_detached"])], rel=1e-10)
        assert features.grad is None
    else:
        pairs = [(logits.grad[:, :-1], expected["grad_logits"]), (features.grad, expected["grad_features"])]
        check(value, expected["loss"], pairs, rel=1e-10)


@fixtures("eqlv2")
def test_eqlv2_step_by_step(name):
    fixture = load(name)
    hyper, labels = fixture["hyper"], torch.tensor(fixture["inputs"]["labels"])
    steps = fixture["expected"]["steps"]
    num_classes = len(steps[0]["logits"][0]) - 1
    loss = EQLv2(num_classes, gamma=hyper["gamma"], mu=hyper["mu"], alpha=hyper["alpha"]).double()
    for step in steps:
        logits = tensor(step["logits"]).requires_grad_()
        value = loss(logits, labels)
        value.backward()
        check(value, step["loss"], [(logits.grad, step["grad_logits"])], rel=1e-10)
        torch.testing.assert_close(loss.positive_gradient, tensor(step["pos_grad_after"]))
        torch.testing.assert_close(loss.negative_gradient, tensor(step["neg_grad_after"]))
        torch.testing.assert_close(loss.gradient_ratio, tensor(step["pos_neg_after"]))
    reference = tensor(fixture["expected"]["activation_of_step0_logits"])
    torch.testing.assert_close(loss.scores(tensor(steps[0]["logits"]))[:, :-1], reference[:, :-1])


@fixtures("seesaw_zero", "seesaw_counts", "seesaw_avgN")
def test_seesaw_step_by_step(name):
    fixture = load(name)
    hyper, labels = fixture["hyper"], torch.tensor(fixture["inputs"]["labels"])
    steps = fixture["expected"]["steps"]
    num_classes = len(steps[0]["logits"][0]) - 2
    loss = Seesaw(num_classes, p=hyper["p"], q=hyper["q"], epsilon=hyper["eps"]).double()
    loss.seen += torch.tensor(steps[0]["cum_samples_before"][:num_classes], dtype=torch.int64)
    foreground = int((labels < num_classes).sum())
    for step in steps:
        logits = tensor(step["logits"]).requires_grad_()
        value = loss(logits, labels)
        value.backward()
        assert loss.seen.tolist() == step["cum_samples_after"][:num_classes]
        if hyper["avg_factor"] == "N":  # what mmdetection's box head passes, and lt_det too
            check(value, step["loss"], [(logits.grad, step["grad_logits"])], rel=1e-7)  # mmdet adds 1e-7 to N
        else:  # class part over foreground RoIs only
            class_part = step["loss_classes"] * foreground / len(labels)
            assert value.item() == pytest.approx(class_part + step["loss_objectness"], rel=1e-10)
            expected = tensor(step["grad_logits"])
            expected[:, :num_classes] *= foreground / len(labels)
            check(value, value.item(), [(logits.grad, expected.tolist())], rel=1e-10)
    reference = tensor(fixture["expected"]["activation_of_step0_logits"])
    torch.testing.assert_close(loss.scores(tensor(steps[0]["logits"])), reference)


@fixtures("ldam_plain", "cdt_bot", "balanced_softmax", "cb_tf_sigmoid", "cb_tf_focal_g05", "focal_bot_sigmoid")
def test_without_background(name):
    """The authors' classifiers have K columns, and so have the losses built for them."""
    fixture = load(name)
    counts, hyper = fixture["inputs"]["class_counts"], fixture["hyper"]
    options = {"instance_counts": counts, "background": False}
    loss = {
        "ldam": lambda: LDAM(len(counts), **options, max_margin=hyper["max_m"], scale=hyper["s"]),
        "cdt": lambda: CDT(len(counts), **options, gamma=hyper["gamma"]),
        "balanced": lambda: LogitAdjustment(len(counts), **options),
        "cb": lambda: ClassBalanced(
            len(counts), **options, base=name.split("_")[2], beta=hyper["beta"], gamma=hyper.get("gamma", 0.0)
        ),
        "focal": lambda: SigmoidFocal(len(counts), background=False, alpha=None, gamma=hyper["gamma"]),
    }[name.split("_")[0]]()
    logits = tensor(fixture["inputs"]["logits"]).requires_grad_()
    value = loss(logits, torch.tensor(fixture["inputs"]["labels"]))
    value.backward()
    check(value, fixture["expected"]["loss"], [(logits.grad, fixture["expected"]["grad_logits"])])


def test_absent_column_has_no_effect():
    """The padding above relies on it."""
    assert math.exp(ABSENT) == 0
