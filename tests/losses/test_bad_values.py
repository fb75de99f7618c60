"""Values that a loss refuses, in one sentence that names the key and the value."""

from contextlib import nullcontext

import pytest
import torch

from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, build_loss_without_stats, loss_class, plain_formulas, sigmoid_cross_entropy_loss

K = 3
COUNTS = {"instance_counts": [1, 10, 100]}
IMAGES = {"image_counts": [1, 10, 100], "num_images": 100}
ALL = COUNTS | IMAGES

REFUSED = [
    ("sigmoid", {"prior_prob": 0.0}, "SIGMOID.PRIOR_PROB must lie between 0 and 1, but is 0.0"),
    ("focal", {"gamma": -0.5}, "FOCAL.GAMMA must be at least 0, but is -0.5; 2 is usual"),
    ("focal", {"alpha": 1.5}, r"FOCAL.ALPHA must lie in \[0, 1\], but is 1.5"),
    ("focal", {"divide_by": "images"}, "FOCAL.DIVIDE_BY is 'images'; write foreground or rois"),
    ("label_smoothing", {"smoothing": 1.0}, r"LABEL_SMOOTHING.SMOOTHING must lie in \[0, 1\), but is 1.0"),
    ("label_smoothing", {"prior": "counts"}, "LABEL_SMOOTHING.PRIOR is 'counts'"),
    ("label_smoothing", {"prior": [0.5, 0.5]}, "PRIOR needs 4 probabilities that add up to 1, .* but got 2 that add"),
    ("label_smoothing", {"prior": [0.5, 0.5, 0.5, 0.5]}, "PRIOR needs 4 probabilities .* but got 4 that add up to 2"),
    ("ib", {**COUNTS, "alpha": "big"}, "IB.ALPHA is 'big'"),
    ("eql", {**IMAGES, "frequency_threshold": 1.1}, "EQL.FREQUENCY_THRESHOLD is 1.1"),
    ("eql", {**IMAGES, "frequency_threshold": "rare"}, "EQL.FREQUENCY_THRESHOLD is 'rare'"),
    ("seql", {**IMAGES, "frequency_threshold": -0.1}, "SEQL.FREQUENCY_THRESHOLD is -0.1"),
    ("seql", {**IMAGES, "gamma": 1.1}, "SEQL.GAMMA is a probability, but is 1.1"),
    ("class_balanced", {**COUNTS, "beta": 1.0}, r"BETA must lie in \[0, 1\), but is 1.0; 0.999 and 0.9999 are usual"),
    ("class_balanced", {"beta": -0.1}, r"BETA must lie in \[0, 1\), but is -0.1"),
    ("class_balanced", {**COUNTS, "base": "eql"}, "CLASS_BALANCED.BASE is 'eql'; write softmax, sigmoid or focal"),
    ("class_balanced", {**COUNTS, "mean_over": "rois"}, "CLASS_BALANCED.MEAN_OVER is 'rois'; write classes or inst"),
    ("class_balanced", {**COUNTS, "gamma": -1.0}, "CLASS_BALANCED.GAMMA must be at least 0, but is -1.0"),
    ("ldam", {**COUNTS, "max_margin": -0.1}, "LDAM.MAX_MARGIN must be at least 0 .* but they are -0.1 and 30.0"),
    ("ldam", {**COUNTS, "scale": 0.0}, "LDAM.SCALE above 0, but they are 0.5 and 0.0"),
    ("cdt", {**COUNTS, "gamma": -0.2}, "CDT.GAMMA must be at least 0, but is -0.2"),
    ("logit_adjustment", {**COUNTS, "tau": -1.0}, "LOGIT_ADJUSTMENT.TAU must be at least 0, but is -1.0"),
    ("ib", {**COUNTS, "start": 1.5}, "IB.START .* is 1.5"),
    ("ib", {**COUNTS, "alpha": 0.0}, "IB.ALPHA is 0.0"),
    ("ib", {**COUNTS, "epsilon": 0.0}, "IB.EPSILON must be above 0, but is 0.0"),
    ("ib", {**COUNTS, "mean_over": "rois"}, "IB.MEAN_OVER is 'rois'; write classes or instances"),
    ("ib", {**COUNTS, "start": 0.0}, "IB.ALPHA is measured in phase 1, but IB.START is 0; set IB.ALPHA"),
    ("ib", {**COUNTS, "focal_gamma": -1.0}, "IB.FOCAL_GAMMA is -1.0"),
    ("eqlv2", {"gamma": -1.0}, "EQLV2.GAMMA and EQLV2.ALPHA must be at least 0, but are -1.0 and 4.0"),
    ("seesaw", {"p": -1.0}, "SEESAW needs P and Q of at least 0 and EPSILON above 0, but they are -1.0"),
    ("seesaw", {"epsilon": 0.0}, "SEESAW needs P and Q of at least 0 and EPSILON above 0, .* 0.0"),
    ("ib", {**COUNTS, "alpha": True}, "IB.ALPHA is True"),
    ("ib", {**COUNTS, "focal_gamma": "fast"}, "IB.FOCAL_GAMMA is 'fast'"),
    ("eql", {**IMAGES, "frequency_threshold": True}, "EQL.FREQUENCY_THRESHOLD is True"),
    ("federated", {"num_sampled": 0}, "FEDERATED.NUM_SAMPLED .* at least 1, but is 0"),
    ("federated", {"num_sampled": 2.5}, "FEDERATED.NUM_SAMPLED .* whole number .* but is 2.5"),
    ("federated", {"frequency_power": -1.0}, "FEDERATED.FREQUENCY_POWER must be at least 0, but is -1.0"),
    ("ldam", {"instance_counts": [1, 2]}, r"LDAMLoss needs 3 counts, one per class, but got \(2,\)"),
    ("cdt", {"instance_counts": [1, -2, 3]}, "CDTLoss needs counts of at least 0, but class 1 has -2"),
    ("federated", {"image_counts": [1, -2, 3]}, "FederatedLoss needs counts of at least 0, but class 1 has -2"),
    ("eql", {"image_counts": [1, 2, -3], "num_images": 5}, "EQLLoss needs counts of at least 0, but class 2 has -3"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED, ids=[f"{r[0]}-{list(r[1])[-1]}" for r in REFUSED])
def test_refused_with_one_sentence(name, arguments, message):
    with pytest.raises(LtDetError, match=message) as caught:
        loss_class(name)(K, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["fast", True, [1.0], float("inf"), float("nan"), None])
@pytest.mark.parametrize(("name", "key"), [("eqlv2", "mu"), ("cdt", "gamma"), ("seesaw", "q"), ("ldam", "scale")])
def test_values_that_are_no_finite_numbers(name, key, value):
    """In a LazyConfig or a candidate of a bake-off; yaml configs are checked when they are read."""
    with pytest.raises(LtDetError, match=f"{name}.{key} is".upper().replace("IS", "is")):
        build_loss_without_stats(name, K, **{key: value})


def test_ib_without_features():
    loss = loss_class("ib")(K, **COUNTS)
    loss.progress = 0.0
    with pytest.raises(LtDetError, match="IB needs the classifier's input; call the loss with features"):
        loss(torch.zeros(2, K + 1), torch.tensor([0, 1]))


def trained(name, background):
    loss = loss_class(name)(K, background=background, **{key: ALL[key] for key in loss_class(name).statistics})
    loss.progress = 0.0
    return loss


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_targets_that_are_no_class(name, background):
    """Without the check some losses take a target of K for background, and -1 for the last column."""
    loss = trained(name, background)
    logits, features = torch.zeros(2, loss.num_logits, requires_grad=True), torch.ones(2, 3)
    with pytest.raises(LtDetError, match="at least 0 as targets, but got -1"):
        loss(logits, torch.tensor([0, -1]), features)
    last = K if background else K - 1
    loss(logits, torch.tensor([0, last]), features)
    with pytest.raises(LtDetError, match=rf"{type(loss).__name__} with 3 classes.* from 0 to {last}, .*got {last + 1}"):
        loss(logits, torch.tensor([0, last + 1]), features)


@pytest.mark.parametrize("fused", [True, False])
def test_functions_refuse_negative_targets(fused):
    with pytest.raises(LtDetError, match="got -1"), nullcontext() if fused else plain_formulas():
        sigmoid_cross_entropy_loss(torch.zeros(2, K, requires_grad=True), torch.tensor([0, -1]))


@pytest.mark.parametrize("name", ["seesaw", "softmax", "eql", "eqlv2"])
def test_logits_of_another_head(name):
    """A K+1 head under Seesaw, which needs K+2, and the other way round."""
    loss = loss_class(name)(K, **(IMAGES if name == "eql" else {}))
    given = K + 1 if name == "seesaw" else K + 2
    with pytest.raises(LtDetError, match=rf"needs {loss.num_logits} columns of logits .* but got {given}"):
        loss(torch.zeros(2, given), torch.tensor([0, 1]))


NO_BATCH = [
    (torch.zeros(2, K, dtype=torch.int64), torch.tensor([0, 1]), "floating-point type, but got torch.int64"),
    (torch.zeros(K), torch.tensor(1), r"shape \(N, C\) .* got \(3,\)"),
    (torch.zeros(2, K), [0, 1], "targets are a list"),
    (torch.zeros(2, K).numpy(), torch.tensor([0, 1]), "logits are a ndarray"),
    (torch.zeros(2, K), torch.zeros(2, dtype=torch.int64, device="meta"), "on cpu, but the targets on meta"),
]


@pytest.mark.parametrize(("logits", "targets", "message"), NO_BATCH)
def test_what_is_no_batch(logits, targets, message):
    for loss in (sigmoid_cross_entropy_loss, loss_class("seesaw")(K, background=False)):
        with pytest.raises(LtDetError, match=message):
            loss(logits, targets)


def test_ib_with_features_of_other_rows():
    with pytest.raises(LtDetError, match=r"shape \(2, D\), .* got \(3, 8\)"):
        trained("ib", True)(torch.zeros(2, K + 1), torch.tensor([0, 1]), torch.zeros(3, 8))
