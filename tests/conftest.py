"""What several tests share: one thread, one small generated data set, the real annotation files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from lt_det.datasets.mini_lvis.generate import MiniLvis, write_mini_lvis
from tests.helpers import REPOSITORY

# Without a deadline: machines are shared and noisy. The same examples in every run, unless new ones are asked for.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None, max_examples=1000)
settings.load_profile("fixed")

SHARED_DATA = REPOSITORY.parent / "shared" / "data"
NUM_CLASSES = 12

needs_float16 = pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="float16 on the CPU needs torch 2.3")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # sums then have one order, and processes under test do not fight for cores


@pytest.fixture(scope="session")
def datasets_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DETECTRON2_DATASETS folder with a small mini_lvis in it."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def mini(datasets_root: Path) -> MiniLvis:
    """A mini_lvis of 12 classes, 400 training and 40 validation images."""
    return write_mini_lvis(
        datasets_root / "mini_lvis", num_train=400, num_val=40, num_classes=NUM_CLASSES, progress=False
    )


def shared_file(name: str) -> Path:
    """A real annotation file, or skip where the folder does not exist (a user's clone)."""
    path = SHARED_DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk with 256 KiB of room, or skip where mounting one is not allowed."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def taco() -> Path:
    return shared_file("taco_annotations.json")


@pytest.fixture
def lvis_sample() -> Path:
    return shared_file("lvis_val_100.json")
