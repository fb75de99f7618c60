"""What the installer refuses, and how it repackages a wheel. The set-up of `make test` does the real installation."""

import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lt_det.compat import detectron2_wheel

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "install_detectron2.py"


@pytest.fixture
def script():
    return detectron2_wheel


@pytest.fixture
def no_detectron2(script, monkeypatch):
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)


def labgym_wheel(path):
    """A wheel with the layout of the real one, but another checksum."""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("LabGym/__init__.py", "")
        wheel.writestr("LabGym/detectron2/__init__.py", "# Copyright (c) Facebook, Inc.\n__version__ = '0.6'\n")
        wheel.writestr("LabGym/detectron2/data.py", "from LabGym.detectron2.layers import x\nimport LabGymOther\n")
        wheel.writestr("LabGym/detectron2/model_zoo/configs/a.yaml", "A: 1\n")
    return path


def test_the_script_also_makes_a_wheel_for_another_machine():
    content = runpy.run_path(str(SCRIPT))
    assert [content[name] for name in ("download", "verify", "repackage")] == [
        detectron2_wheel.download,
        detectron2_wheel.verify,
        detectron2_wheel.repackage,
    ]


def test_an_existing_detectron2_is_not_touched():
    result = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert result.returncode == 0
    assert "already installed" in result.stdout


def test_a_wrong_checksum_installs_nothing(script, no_detectron2, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["install", "--wheel", str(labgym_wheel(tmp_path / "LabGym.whl"))])
    monkeypatch.setattr(script.subprocess, "run", lambda *a, **k: pytest.fail("pip was called"))
    assert script.main() == 1
    error = capsys.readouterr().err
    assert "LabGym.whl has SHA-256" in error
    assert script.SHA256 in error
    assert len(error.strip().splitlines()) == 1


def test_a_missing_wheel(script, no_detectron2, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["install", "--wheel", str(tmp_path / "gone.whl")])
    assert script.main() == 1
    assert "gone.whl does not exist" in capsys.readouterr().err


def test_no_network_is_one_sentence(script, no_detectron2, monkeypatch, capsys):
    for name in ("PIP_NO_INDEX", "PIP_ISOLATED"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr(sys, "argv", ["install"])
    assert script.main() == 1
    error = capsys.readouterr().err
    assert "LabGym==3.1.2" in error
    assert "--wheel" in error
    assert len(error.strip().splitlines()) == 1


def test_the_repackaged_wheel_installs(script, tmp_path):
    wheel = script.repackage(labgym_wheel(tmp_path / "LabGym.whl"), tmp_path / "out")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True)
    assert (site / "detectron2/data.py").read_text() == "from detectron2.layers import x\nimport LabGymOther\n"
    assert (site / "detectron2/__init__.py").read_text().startswith("# Copyright (c) Facebook")
    assert (site / "detectron2/model_zoo/configs/a.yaml").is_file()
    assert not (site / "LabGym").exists()
    listed = subprocess.run([*pip, "list", "--path", str(site)], capture_output=True, text=True, check=True).stdout
    assert "detectron2" in listed
    (dist_info,) = site.glob("detectron2-*.dist-info")
    assert "Apache License" in (dist_info / "LICENSE").read_text()
