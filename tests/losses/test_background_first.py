"""Losses under labels whose background is 0, against computations in that order."""

import pytest
import torch
import torch.nn.functional as F

from lt_det.losses import (
    LOSSES,
    BackgroundFirst,
    ClassReweighting,
    SeesawLoss,
    SoftmaxCrossEntropyLoss,
    background_last,
    loss_class,
)

K = 4
COUNTS = [1, 10, 50, 1000]
GIVEN = {"instance_counts": COUNTS, "image_counts": COUNTS, "num_images": 1000}
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 4])


def build(name):
    loss = loss_class(name)(K, **{key: GIVEN[key] for key in loss_class(name).statistics})
    loss.progress = 0.0
    return loss


def logits_for(loss):
    return torch.randn(7, loss.num_logits, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_labels():
    assert background_last(torch.tensor([0, 1, 2, 3, 4]), K).tolist() == [4, 0, 1, 2, 3]


def test_softmax_is_torchvisions():
    """`fastrcnn_loss` is this cross-entropy, and `postprocess_detections` this softmax."""
    loss = BackgroundFirst(SoftmaxCrossEntropyLoss(K))
    logits = logits_for(loss)
    assert loss(logits, LABELS) == F.cross_entropy(logits, LABELS)
    torch.testing.assert_close(loss.scores(logits), logits.softmax(dim=1))


def test_eql_written_for_background_first():
    loss = BackgroundFirst(build("eql"))
    logits = logits_for(loss)
    total = 0.0
    for z, y in zip(logits, LABELS.tolist(), strict=True):
        for j in range(1, K + 1):
            ignored = y > 0 and j != y and COUNTS[j - 1] <= 100
            if not ignored:
                total = total - F.logsigmoid(z[j] if j == y else -z[j])
    torch.testing.assert_close(loss(logits, LABELS), total / len(LABELS))
    (gradient,) = torch.autograd.grad(loss(logits, LABELS), logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(total / len(LABELS), logits)[0])
    scores = loss.scores(logits)
    assert not scores[:, 0].any()
    torch.testing.assert_close(scores[:, 1:], logits[:, 1:].sigmoid())


def test_seesaws_objectness_is_background_first_and_foreground_last():
    loss = BackgroundFirst(SeesawLoss(K, p=0.0, q=0.0))
    logits = logits_for(loss)
    assert loss.num_logits == K + 2
    foreground = LABELS > 0
    classes = F.cross_entropy(logits[foreground, 1 : K + 1], LABELS[foreground] - 1, reduction="sum")
    objectness = F.cross_entropy(logits[:, [0, K + 1]], foreground.long(), reduction="sum")
    torch.testing.assert_close(loss(logits, LABELS), (classes + objectness) / len(LABELS))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss(name):
    inner = build(name)
    loss = BackgroundFirst(inner).eval()
    logits, features = logits_for(loss), torch.rand(7, 3)
    torch.manual_seed(0)
    rows = loss(logits, LABELS, features, reduction="none")
    order = [*range(1, loss.num_logits), 0]
    torch.manual_seed(0)
    expected = inner(logits[:, order], torch.tensor([4, 0, 1, 2, 3, 4, 3]), features, reduction="none")
    assert torch.equal(rows, expected)
    bias = loss.initial_bias()
    assert bias is None or torch.equal(bias[order], inner.initial_bias())
    assert (loss.default_classifier, loss.scales_cosines) == (inner.default_classifier, inner.scales_cosines)


def test_around_re_weighting():
    loss = BackgroundFirst(ClassReweighting(SoftmaxCrossEntropyLoss(K), [2.0, 3.0, 4.0, 5.0]))
    logits = logits_for(loss)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    expected = F.cross_entropy(logits, LABELS, weight=weight, reduction="sum") / 7
    torch.testing.assert_close(loss(logits, LABELS), expected)
