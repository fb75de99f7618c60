"""Fixtures of several folders: one thread, fixed seeds, a small generated dataset, annotation files, a small disk."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from lt_det.datasets.mini_lvis.generate import MiniLvis, write_mini_lvis
from tests.helpers import REPOSITORY, SHARED_DATA, SLOW
from tests.helpers.annotation_files import write_litter, write_lvis_sample

# No deadline: machines are shared and noisy. The same examples each time, unless new ones are asked for.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None, max_examples=1000)
settings.load_profile("fixed")

NUM_CLASSES = 12


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "long" not in config.getoption("-m"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
    for item in items:
        if item.path.relative_to(REPOSITORY / "tests").as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # sums then have one order, and processes under test do not compete for cores


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Whatever a test draws at random is the same each time, alone and in any order."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


LOGGERS = (None, "detectron2", "fvcore", "lt_det", "lt_det.modeling.loss_builder")
_LoggerState = tuple[logging.Logger, int, bool, list[logging.Handler]]


@pytest.fixture(autouse=True, scope="session")
def _untouched_loggers() -> list[_LoggerState]:
    """The loggers that Detectron2 sets up, and that single-process tools silence, before the first test."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    return [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]


@pytest.fixture(autouse=True)
def _logging(_untouched_loggers: list[_LoggerState]) -> Iterator[None]:
    """Undo what a test, or a fixture that several tests share, does to the loggers.

    Otherwise later tests in the same process would miss what is logged, or log to the standard output that pytest
    captured for an earlier test, which is closed by then, and logging would complain on standard error.
    """
    _restore(_untouched_loggers)
    yield
    _restore(_untouched_loggers)


def _restore(loggers: list[_LoggerState]) -> None:
    for logger, level, propagate, handlers in loggers:
        for handler in [handler for handler in logger.handlers if handler not in handlers]:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
    if "detectron2.utils.logger" in sys.modules:
        sys.modules["detectron2.utils.logger"].setup_logger.cache_clear()  # it would not set up a logger again


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


@pytest.fixture
def stats_file(tmp_path: Path) -> str:
    """A training set of five classes with 1 to 81 images each."""
    from tests.helpers.models import annotations  # loads Detectron2, which tests of the lower floors do without

    path = tmp_path / "train.json"
    path.write_text(json.dumps(annotations()))
    return str(path)


def shared_file(name: str) -> Path:
    """A real annotation file, or skip where it does not exist."""
    path = SHARED_DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    return path


@pytest.fixture
def taco() -> Path:
    """TACO's annotations: litter in the wild, in COCO format, with the mistakes of real files."""
    return shared_file("taco_annotations.json")


@pytest.fixture
def lvis_sample() -> Path:
    """100 images of LVIS v0.5 val with their federated lists."""
    return shared_file("lvis_val_100.json")


@pytest.fixture
def litter(tmp_path: Path) -> Path:
    """Generated annotations with the traits of TACO's."""
    return write_litter(tmp_path / "litter.json")


@pytest.fixture
def small_lvis(tmp_path: Path) -> Path:
    """Generated annotations with the traits of the LVIS sample's."""
    return write_lvis_sample(tmp_path / "small_lvis.json")


@pytest.fixture(params=["taco", "litter"])
def coco_file(request: pytest.FixtureRequest) -> Path:
    """Real annotations in COCO format where they are there, and generated ones everywhere."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["lvis_sample", "small_lvis"])
def lvis_file(request: pytest.FixtureRequest) -> Path:
    """Real annotations in LVIS format where they are there, and generated ones everywhere."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 256 KiB, or skip where mounting one is not allowed."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
