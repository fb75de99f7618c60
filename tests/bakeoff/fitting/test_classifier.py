"""The written-out step of a classifier against autograd, torch's SGD and Detectron2's clipping."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from lt_det.bakeoff.fitting.batch import Batch
from lt_det.bakeoff.fitting.classifier import SGD, ClassifierStep
from lt_det.layers import CosineClassifier


def solver(**keys):
    cfg = get_cfg()
    cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.01, 0.003
    cfg.SOLVER.BIAS_LR_FACTOR = 2.0
    cfg.merge_from_list([item for key, value in keys.items() for item in (f"SOLVER.{key}", value)])
    return cfg


def optimizer(cfg, classifier, rate):
    s = cfg.SOLVER
    groups = [{"params": [classifier.weight], "lr": rate, "weight_decay": s.WEIGHT_DECAY}]
    if classifier.bias is not None:
        groups.append({"params": [classifier.bias], "lr": rate * s.BIAS_LR_FACTOR, "weight_decay": s.WEIGHT_DECAY_BIAS})
    kind = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
    return kind(groups, lr=rate, momentum=s.MOMENTUM, nesterov=s.NESTEROV)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"NESTEROV": True},
        {"CLIP_GRADIENTS.ENABLED": True, "CLIP_GRADIENTS.CLIP_TYPE": "norm", "CLIP_GRADIENTS.CLIP_VALUE": 0.05},
        {"CLIP_GRADIENTS.ENABLED": True, "CLIP_GRADIENTS.CLIP_TYPE": "value", "CLIP_GRADIENTS.CLIP_VALUE": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["linear", "linear without bias", "cosine", "cosine without bias"])
def test_steps_equal_autograd_and_sgd(kind, keys):
    torch.manual_seed(0)
    bias = "without" not in kind
    made = CosineClassifier(6, 4, bias=bias) if "cosine" in kind else nn.Linear(6, 4, bias=bias)
    plain, fast = made.double(), None
    cfg = solver(**keys)
    fast = CosineClassifier(6, 4, bias=bias) if "cosine" in kind else nn.Linear(6, 4, bias=bias)
    fast = fast.double()
    fast.load_state_dict(plain.state_dict())
    sgd, step = optimizer(cfg, plain, 0.3), ClassifierStep(fast, SGD.from_config(cfg))
    for _ in range(8):
        batch = Batch(torch.rand(20, 6, dtype=torch.float64), torch.randint(4, (20,)))
        sgd.zero_grad()
        F.cross_entropy(plain(batch.features), batch.labels).backward()
        sgd.step()
        logits = step.logits(batch)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, batch.labels), logits)
        step.update(gradient, batch, 0.3)
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], expected, rtol=1e-10, atol=1e-12)


def test_logits_are_those_of_the_classifier():
    torch.manual_seed(0)
    batch = Batch(torch.rand(5, 6), torch.zeros(5, dtype=torch.int64))
    for classifier in (nn.Linear(6, 4), CosineClassifier(6, 4)):
        torch.testing.assert_close(ClassifierStep(classifier, SGD()).logits(batch), classifier(batch.features))
