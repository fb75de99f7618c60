"""The programs in examples/, as a user runs them."""

import runpy
import subprocess
import sys

import pytest

from lt_det.layers import CosineClassifier
from tests.helpers import REPOSITORY


def run(script, *arguments):
    command = [sys.executable, str(REPOSITORY / "examples" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("loss", ["SoftmaxEQLLoss", "LDAMLoss", "IBLoss"])
def test_classifier(loss):
    """It learns: chance is 0.1."""
    lines = run("classifier.py", "--loss", loss, "--epochs", "6").splitlines()
    accuracy = {line.split()[2]: float(line.rsplit(" ", 1)[1]) for line in lines if "accuracy" in line}
    assert list(accuracy) == ["head", "middle", "tail"]
    assert accuracy["head"] > 0.9
    assert accuracy["middle"] > 0.5


@pytest.mark.parametrize("loss", ["eql", "seesaw"])
def test_torchvision(loss):
    out = run("torchvision_faster_rcnn.py", "--loss", loss, "--steps", "2")
    assert "loss_classifier" in out
    assert "nan" not in out
    assert "100 detections" in out


def test_torchvision_has_the_cosine_classifier_of_the_loss():
    example = runpy.run_path(str(REPOSITORY / "examples" / "torchvision_faster_rcnn.py"))
    classifier = example["build_model"]("ldam").roi_heads.box_predictor.cls_score
    assert isinstance(classifier, CosineClassifier)
    assert (classifier.scale, classifier.bias) == (1.0, None)
