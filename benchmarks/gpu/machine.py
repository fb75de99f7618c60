"""The device, the size of the measurement, and what identifies the machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import torch

PREPARED = Path(".gpu")  # what `benchmarks/gpu.sh --prepare` writes, and what travels to the GPU machine


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def is_small() -> bool:
    """Whether to run the stages in small: without a GPU, or with LT_DET_GPU_SMALL=1."""
    return os.environ.get("LT_DET_GPU_SMALL") == "1" or not torch.cuda.is_available()


def describe() -> dict[str, str | bool | None]:
    """Card, driver, versions, date and commit. Does not initialize CUDA."""
    card, driver = _nvidia_smi()
    return {
        "card": card,
        "driver": driver,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit(),
        "small": is_small(),
    }


def commit() -> str:
    """The commit of this tree; where it came without its history, the one `--prepare` wrote down."""
    try:
        git = ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        prepared = PREPARED / "commit"
        return prepared.read_text().strip() if prepared.is_file() else "unknown"


def _nvidia_smi() -> tuple[str, str]:
    if shutil.which("nvidia-smi") is None:
        return "none", "none"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True).stdout.strip().splitlines()
    card, _, driver = answer[0].rpartition(", ") if answer else ("none", "", "none")
    return card, driver
