"""The sdist and the wheel: what is in them, and the version, which stands in one place."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string

import pytest
import yaml

import lt_det
from tests.helpers import REPOSITORY, copy_of_sources

BUILD = "import sys; from setuptools import build_meta as backend; getattr(backend, sys.argv[1])(sys.argv[2])"


def build(what, sources, out):
    """Build without an environment of its own, which would need a network."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", BUILD, f"build_{what}", str(out)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # it is warned of
    done = subprocess.run(command, cwd=sources, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build("sdist", copy_of_sources(tmp_path_factory.mktemp("sources")), tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """As pip builds it from the sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (sources,) = folder.iterdir()
    return build("wheel", sources, tmp_path_factory.mktemp("wheel"))


def shipped(folder):
    files = [*(REPOSITORY / folder).rglob("*.yaml"), *(REPOSITORY / folder).rglob("*.py")]
    return {file.relative_to(REPOSITORY).as_posix() for file in files}


@pytest.mark.slow
def test_the_sdist_has_files_and_no_links(sdist):
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() or member.isdir() for member in members)
    names = {member.name.partition("/")[2] for member in members}
    assert names >= shipped("configs") | shipped("tools") | {"LICENSE", "CITATION.cff", "docs/install.md", "setup.py"}
    assert not [name for name in names if name.startswith(("tests", "benchmarks", ".ci", ".github"))]


@pytest.mark.slow
def test_the_wheel_has_the_package_and_what_it_reads(wheel):
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    assert {name for name in names if name.startswith("lt_det/configs/")} == {f"lt_det/{n}" for n in shipped("configs")}
    for name in shipped("configs"):
        assert archive.read(f"lt_det/{name}") == (REPOSITORY / name).read_bytes()
    templates = (REPOSITORY / "lt_det" / "reporting" / "templates").iterdir()
    assert names >= {f"lt_det/reporting/templates/{file.name}" for file in templates} | {"lt_det/py.typed"}
    assert names >= {file.relative_to(REPOSITORY).as_posix() for file in (REPOSITORY / "lt_det").rglob("*.py")}
    assert {name.partition("/")[0] for name in names} == {"lt_det", f"lt_det-{lt_det.__version__}.dist-info"}


@pytest.mark.slow
def test_the_version_and_the_license_of_the_wheel(wheel):
    about = zipfile.ZipFile(wheel).read(f"lt_det-{lt_det.__version__}.dist-info/METADATA").decode()
    headers = message_from_string(about)
    assert (headers["Version"], headers["License-Expression"]) == (lt_det.__version__, "Apache-2.0")
    peers = [name for name in headers.get_all("Requires-Dist") if re.match("(torch|torchvision|detectron2)\\b", name)]
    assert peers == []


def test_no_other_file_states_the_version():
    for name in ("pyproject.toml", "setup.py", "CITATION.cff"):
        assert lt_det.__version__ not in (REPOSITORY / name).read_text(), name


def test_the_hooks_have_the_versions_of_the_constraints():
    constraints = (REPOSITORY / "constraints.txt").read_text().split()
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    pinned = {name for hook in hooks for name in hook.get("additional_dependencies", []) if "==" in name}
    assert len(pinned) == 2
    assert pinned <= set(constraints)
