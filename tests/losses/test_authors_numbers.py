"""Losses against numbers produced by the authors' own code (see each fixture's "source")."""

import json
from pathlib import Path

import pytest
import torch

from lt_det.losses import EQL, SigmoidCrossEntropy

FIXTURES = Path(__file__).parent / "fixtures"


def load(name):
    fixture = json.loads((FIXTURES / f"{name}.json").read_text())
    logits = torch.tensor(fixture["inputs"]["logits"], dtype=torch.float64)
    expected = torch.tensor(fixture["expected"]["grad_logits"], dtype=torch.float64)
    return fixture, logits, torch.tensor(fixture["inputs"]["labels"]), expected


@pytest.mark.parametrize("name", ["eql_small", "eql_longtail"])
def test_eql_equals_the_authors_detector(name):
    fixture, logits, labels, expected = load(name)
    num_classes = logits.shape[1]  # the authors' head has no background column, ours keeps a dead one
    logits = torch.cat([logits, torch.full((len(logits), 1), 3.0, dtype=torch.float64)], dim=1).requires_grad_()
    loss = EQL(
        num_classes,
        image_counts=torch.tensor(fixture["inputs"]["image_frequency"], dtype=torch.float64),
        num_images=1,
        frequency_threshold=fixture["hyper"]["lambda_"],
    )
    value = loss(logits, labels)
    value.backward()
    assert value.item() == pytest.approx(fixture["expected"]["loss"], rel=1e-10)
    torch.testing.assert_close(logits.grad[:, :-1], expected, rtol=1e-10, atol=1e-14)
    assert not logits.grad[:, -1].any()


@pytest.mark.parametrize("name", ["sigmoid_ce_d2_small", "sigmoid_ce_d2_longtail"])
def test_sigmoid_equals_detectron2(name):
    fixture, logits, labels, expected = load(name)
    logits.requires_grad_()
    value = SigmoidCrossEntropy(logits.shape[1] - 1)(logits, labels)
    value.backward()
    assert value.item() == pytest.approx(fixture["expected"]["loss"], rel=1e-10)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-10, atol=1e-14)
