"""A clone with one config, and a short real training of it that is copied before it is broken."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers import REPOSITORY

CONFIG = f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_softmax.yaml
MODEL:
  ROI_HEADS: {{NUM_CLASSES: 12, BATCH_SIZE_PER_IMAGE: 16}}
DATALOADER: {{NUM_WORKERS: 0}}
INPUT: {{MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 40, STEPS: [30], WARMUP_ITERS: 5, BASE_LR: 0.02}}
"""
KEYS = ["TEST.EVAL_PERIOD", "0", "TEST.RESAMPLES", "0", "SEED", "3", "OUTPUT_DIR", "output"]


@pytest.fixture(scope="session")
def trained(mini, datasets_root, tmp_path_factory):
    """A clone's folders with configs/mini_lvis_small.yaml, and output/ of its training."""
    clone = tmp_path_factory.mktemp("clone")
    (clone / "configs").mkdir()
    (clone / "zoo" / "rows").mkdir(parents=True)
    (clone / "configs" / "mini_lvis_small.yaml").write_text(CONFIG)
    tool = str(REPOSITORY / "tools" / "train_net.py")
    subprocess.run(
        [sys.executable, "-W", "ignore", tool, "--config", "configs/mini_lvis_small.yaml", *KEYS],
        cwd=clone,
        env={
            **os.environ,
            "DETECTRON2_DATASETS": str(datasets_root),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
        },
        check=True,
        capture_output=True,
    )
    for checkpoint in (clone / "output").glob("*.pth"):
        checkpoint.unlink()  # nothing reads them here
    return clone


@pytest.fixture
def clone(trained, tmp_path, monkeypatch):
    """A copy of `trained`, as the working directory."""
    copy = tmp_path / "clone"
    shutil.copytree(trained, copy)
    monkeypatch.chdir(copy)
    return copy
