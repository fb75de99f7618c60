"""Names of losses: in code, in the registry, in checkpoints."""

import ast
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import lt_det.losses
from lt_det.losses import LOSSES, ClassificationLoss, name_in_checkpoint, possible_num_logits, registered_name

# Class names of 5371cfc, which its checkpoints hold.
OLD = {
    "CDT": "cdt",
    "ClassBalanced": "class_balanced",
    "EQL": "eql",
    "EQLv2": "eqlv2",
    "Federated": "federated",
    "InfluenceBalanced": "ib",
    "LDAM": "ldam",
    "LabelSmoothing": "label_smoothing",
    "LogitAdjustment": "logit_adjustment",
    "Seesaw": "seesaw",
    "SigmoidCrossEntropy": "sigmoid",
    "SigmoidFocal": "focal",
    "SoftmaxCrossEntropy": "softmax",
    "SoftmaxEQL": "seql",
}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_has_a_class_a_function_and_a_name(name):
    loss = LOSSES[name]
    assert loss.__name__.endswith("Loss")
    assert getattr(lt_det.losses, loss.__name__) is loss
    function = {"sigmoid": "sigmoid_cross_entropy_loss", "softmax": "softmax_cross_entropy_loss"}.get(name)
    assert callable(getattr(lt_det.losses, function or f"{name}_loss"))
    assert registered_name(loss(3)) == name_in_checkpoint(name) == name_in_checkpoint(loss.__name__) == name


def test_old_class_names():
    assert set(OLD.values()) == set(LOSSES)
    for old, name in OLD.items():
        assert name_in_checkpoint(old) == name
        assert getattr(lt_det.losses, old) is LOSSES[name]
    assert name_in_checkpoint("SomebodysLoss") == "SomebodysLoss"


def test_a_registered_name_comes_before_an_old_class_name(monkeypatch):
    class Mine(ClassificationLoss):
        pass

    monkeypatch.setitem(LOSSES, "CDT", Mine)
    assert name_in_checkpoint("CDT") == "CDT"


def test_names_that_papers_use():
    assert lt_det.losses.SEQLLoss is LOSSES["seql"]
    assert lt_det.losses.InfluenceBalancedLoss is LOSSES["ib"]
    counts, logits, labels = torch.tensor([400, 60, 2]), torch.randn(5, 3), torch.tensor([0, 1, 2, 2, 1])
    loss = lt_det.losses.BalancedSoftmaxLoss(3, background=False, instance_counts=counts)
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits + counts.log(), labels))
    assert {"BalancedSoftmaxLoss", "InfluenceBalancedLoss", "SEQLLoss"} <= set(lt_det.losses.__all__)


def test_numbers_of_columns():
    assert possible_num_logits(5) == {6, 7}


def test_everything_that_is_exported_exists():
    for name in lt_det.losses.__all__:
        assert hasattr(lt_det.losses, name)


def test_losses_and_layers_import_torch_and_numpy_only():
    """At run time; types may come from elsewhere."""
    package = Path(lt_det.losses.__file__).parent.parent
    found = set()
    for file in [*package.glob("losses/*.py"), *package.glob("layers/*.py")]:
        for node in ast.parse(file.read_text()).body:  # not what stands under `if TYPE_CHECKING`
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module)
    inside = {
        name
        for name in found
        if name.startswith(("lt_det.losses", "lt_det.layers"))
        or name in {"lt_det.errors", "lt_det.numbers", "lt_det.registry", "lt_det.terminal"}
    }
    outside = {name.split(".")[0] for name in found - inside}
    assert outside - sys.stdlib_module_names <= {"torch", "numpy"}
