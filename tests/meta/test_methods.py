"""Each method: its gradient by θ against autograd through the unrolled step, and what it returns."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F

from lt_det.errors import LtDetError
from lt_det.losses import ClassReweighting, LDAMLoss, LogitAdjustmentLoss, plain_formulas
from lt_det.losses._rows import one_hot
from lt_det.meta.balms import BalmsReweighter
from lt_det.meta.closed_form import Bilevel, InnerStep
from lt_det.meta.hyperparameters import LearnedMargin, LearnedTau
from lt_det.meta.l2rw import L2RW
from lt_det.meta.meta_weight_net import MetaWeightNet
from lt_det.meta.method import MetaLoss, TrainingRows
from tests.helpers.bilevel import COUNTS, D, K, meta_step, toy_classifier, toy_loss, toy_rois, unrolled_meta_loss
from tests.helpers.gloo import in_processes

close = functools.partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)
MOMENTUM = InnerStep(0.3, 0.9, 0.05)


def weighted_by_network(method, loss, logits, rois):
    """Meta-Weight-Net's training loss; V gets the losses as constants."""
    losses = loss(logits(rois[0]), rois[1], rois[0], "none")
    v = method(losses.detach())
    return (v * losses).sum() / v.sum()


def weighted_by_class(method, loss, logits, rois):
    """The loss of BALMS."""
    losses = loss(logits(rois[0]), rois[1], rois[0], "none")
    foreground = rois[1] < K
    v = method.theta.double().sigmoid()[rois[1][foreground]]
    return ((v / v.mean() * losses[foreground]).sum() + losses[~foreground].sum()) / len(losses)


def adjusted_by_tau(method, loss, logits, rois):
    return F.cross_entropy(logits(rois[0]) + method.phi * loss.log_prior, rois[1])


def scaled_margins(method, loss, logits, rois):
    z = logits(rois[0])
    margin = (method.phi * loss.margins)[rois[1]].unsqueeze(1)
    return F.cross_entropy(loss.scale * (z - margin * one_hot(rois[1], z)), rois[1])


LEARNERS = {
    "mwn": ("softmax", "linear", lambda loss: MetaWeightNet(hidden=8).double(), weighted_by_network),
    "mwn, ldam": ("ldam", "cosine", lambda loss: MetaWeightNet(hidden=8).double(), weighted_by_network),
    "balms": ("logit_adjustment", "linear", lambda loss: BalmsReweighter(K).double(), weighted_by_class),
    "balms, sigmoid": ("sigmoid", "cosine", lambda loss: BalmsReweighter(K).double(), weighted_by_class),
    "tau": ("logit_adjustment", "linear", LearnedTau, adjusted_by_tau),
    "margin": ("ldam", "cosine", LearnedMargin, scaled_margins),
}


def with_any_theta(method):
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return method


def one_step(method, loss, classifier, rois, meta_rois, step, buffers):
    """A of one step of the method."""
    rows = TrainingRows(loss, classifier(rois[0]).detach(), rois[1], rois[0])
    return method.logit_gradients(rows, Bilevel(classifier, step, rois[0], MetaLoss(loss), *meta_rois, buffers))


@pytest.mark.parametrize("learner", LEARNERS)
def test_gradient_of_what_is_learned_and_of_the_loss(learner):
    name, kind, build, training_loss = LEARNERS[learner]
    loss = toy_loss(name)
    classifier = toy_classifier(loss, kind)
    method = with_any_theta(build(loss))
    before = copy.deepcopy(method)
    rois, meta_rois = toy_rois(16), toy_rois(12)
    buffers = {key: torch.randn_like(parameter) for key, parameter in classifier.named_parameters()}

    A = one_step(method, loss, classifier, rois, meta_rois, MOMENTUM, buffers)

    value = functools.partial(training_loss, before, loss, rois=rois)
    with plain_formulas():
        meta = unrolled_meta_loss(classifier, value, MetaLoss(loss), meta_rois, MOMENTUM, buffers)
    expected = torch.autograd.grad(meta, list(before.parameters()))
    for parameter, gradient in zip(method.parameters(), expected, strict=True):
        assert gradient.abs().max() > 1e-6
        close(parameter.grad, gradient)
    assert any(not torch.equal(a, b) for a, b in zip(method.parameters(), before.parameters(), strict=True))

    z = classifier(rois[0]).detach().requires_grad_()  # A belongs to θ after its step
    close(A, torch.autograd.grad(training_loss(method, loss, lambda _: z, rois), z)[0])


def test_l2rw_equals_autograd_and_does_not_depend_on_the_learning_rate():
    loss, rois, meta_rois = toy_loss("softmax"), toy_rois(16), toy_rois(12)
    classifier = toy_classifier(loss)
    epsilon = torch.zeros(16, dtype=torch.float64, requires_grad=True)

    def weighted(logits):
        return (epsilon * loss(logits(rois[0]), rois[1], None, "none")).sum()

    meta = unrolled_meta_loss(classifier, weighted, MetaLoss(loss), meta_rois, InnerStep(1.0))
    u = (-torch.autograd.grad(meta, epsilon)[0]).clamp(min=0)
    z = classifier(rois[0]).detach().requires_grad_()
    (d,) = torch.autograd.grad(loss(z, rois[1], None, "sum"), z)
    assert 0 < (u > 0).sum() < 16
    for eta in (1e-4, 1.0, 50.0):
        close(one_step(L2RW(), loss, classifier, rois, meta_rois, InnerStep(eta), {}), (u / u.sum())[:, None] * d)


def test_l2rw_without_any_useful_row_changes_nothing():
    loss = toy_loss("softmax")
    classifier = torch.nn.Linear(D, K + 1).double()
    torch.nn.init.zeros_(classifier.weight)
    torch.nn.init.zeros_(classifier.bias)
    features = torch.ones(4, D, dtype=torch.float64)
    wrong, right = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    A = one_step(L2RW(), loss, classifier, (features, wrong), (features, right), InnerStep(0.1), {})
    assert torch.equal(A, torch.zeros(4, K + 1, dtype=torch.float64))


def clusters(counts, spread=0.5):
    """Features around one center per class, and targets."""
    generator = torch.Generator().manual_seed(5)
    centers = torch.randn(K + 1, D, generator=generator, dtype=torch.float64)
    targets = torch.repeat_interleave(torch.arange(K + 1), torch.tensor(counts))
    noise = torch.randn(len(targets), D, generator=generator, dtype=torch.float64)
    return centers[targets] + spread * noise, targets


def test_l2rw_ignores_wrong_labels():
    loss = toy_loss("softmax")
    classifier = torch.nn.Linear(D, K + 1).double()
    features, targets = clusters([40] * (K + 1))
    wrong = torch.rand(len(targets)) < 0.3
    labels = torch.where(wrong, (targets + 1) % (K + 1), targets)
    A = one_step(L2RW(), loss, classifier, (features, labels), clusters([10] * (K + 1)), InnerStep(0.1), {})
    size = A.abs().sum(dim=1)
    assert size[wrong].mean() < 0.5 * size[~wrong].mean()


@pytest.mark.parametrize("kind", ["balms", "tau"])
def test_rare_classes_gain(kind):
    loss = toy_loss("logit_adjustment", tau=0.0)
    method = BalmsReweighter(K, learning_rate=0.1) if kind == "balms" else LearnedTau(loss, learning_rate=0.1)
    classifier = torch.nn.Linear(D, K + 1).double()
    optimizer = torch.optim.SGD(classifier.parameters(), 0.5, momentum=0.9)
    rois, meta_rois = clusters([400, 60, 9, 2, 100], spread=1.5), clusters([20] * (K + 1), spread=1.5)
    losses = [meta_step(classifier, optimizer, loss, method, rois, meta_rois) for _ in range(60)]
    assert losses[-1] < losses[0]
    (learned,) = method.learned().values()
    if kind == "balms":
        assert learned[0] < 0.5 < learned[3]
    else:
        assert learned > 0.2


@pytest.mark.parametrize(("start", "limit"), [(0.5, 2.0), (1.5, 3.0)])
def test_hyperparameter_stays_in_its_limits(start, limit):
    loss = toy_loss("logit_adjustment", tau=start)
    classifier = toy_classifier(loss)
    found = set()
    for _ in range(20):
        method = LearnedTau(loss, learning_rate=100.0)
        one_step(method, loss, classifier, toy_rois(16), toy_rois(12), InnerStep(0.1), {})
        found.add(float(method.learned()["tau"]))
    assert found == {0.0, limit}


def test_losses_that_do_not_fit():
    ldam = LDAMLoss(K, instance_counts=COUNTS["instance_counts"], hinge=True)
    with pytest.raises(LtDetError, match=r"margin.* ldam"):
        LearnedMargin(ldam)
    with pytest.raises(LtDetError, match=r"tau.* logit_adjustment.*LOSS\.NAME is ldam"):
        LearnedTau(ldam)
    with pytest.raises(LtDetError, match=r"MODEL\.LONG_TAIL\.LOSS\.NAME is Other"):
        MetaLoss(type("Other", (type(ldam).__mro__[2],), {})(K))


def test_meta_loss_is_that_of_the_loss_inside():
    inside = LogitAdjustmentLoss(K, instance_counts=COUNTS["instance_counts"])
    z, targets = torch.randn(6, K + 1), torch.randint(K + 1, (6,))
    value = MetaLoss(ClassReweighting(inside, [2.0] * K))(z, targets)
    assert value == F.cross_entropy(z, targets)


METHODS = {
    "mwn": ("softmax", lambda loss: MetaWeightNet(hidden=8).double()),
    "l2rw": ("softmax", lambda loss: L2RW()),
    "balms": ("logit_adjustment", lambda loss: BalmsReweighter(K).double()),
    "tau": ("logit_adjustment", LearnedTau),
    "margin": ("ldam", LearnedMargin),
}


def train(rois, meta_rois):
    """Three steps of every method: the classifiers, and the methods' states."""
    results = {}
    for name, (loss_name, build) in METHODS.items():
        torch.manual_seed(3)
        loss = toy_loss(loss_name)
        classifier, method = toy_classifier(loss, loss.default_classifier), build(loss)
        optimizer = torch.optim.SGD(classifier.parameters(), 0.5, momentum=0.9, weight_decay=0.01)
        for _ in range(3):
            meta_step(classifier, optimizer, loss, method, rois, meta_rois)
        results[name] = {**classifier.state_dict(), **method.state_dict(prefix="method.")}
    return results


def train_in_one_process(expected, rois, meta_rois):
    """Rows are divided unequally, so that neither N nor M may be those of a process."""
    rank = torch.distributed.get_rank()
    part, meta_part = [(slice(10), slice(3)), (slice(10, 16), slice(3, 12))][rank]
    found = train(tuple(t[part] for t in rois), tuple(t[meta_part] for t in meta_rois))
    close(found, expected)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    rois, meta_rois = toy_rois(16), toy_rois(12)
    in_processes(2, tmp_path, train_in_one_process, train(rois, meta_rois), rois, meta_rois)
