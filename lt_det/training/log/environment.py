"""Which lt_det trains on which machine: one line of log.txt, beside what Detectron2 logs of versions and GPUs."""

from __future__ import annotations

import logging
import platform
import subprocess
from pathlib import Path

import torch
from detectron2.utils import comm

import lt_det
from lt_det.terminal import count_of

_PACKAGE = Path(lt_det.__file__).resolve().parent

logger = logging.getLogger(__name__)


def log_environment() -> None:
    """Log version, commit, processor and threads, in the main process."""
    if comm.is_main_process():
        logger.info(
            f"lt_det {lt_det.__version__}, commit {commit() or 'unknown'}, processor {processor()}, "
            f"{count_of(torch.get_num_threads(), 'thread')}"
        )


def commit() -> str | None:
    """The commit of the clone that lt_det is imported from, with "-dirty" if tracked files have changed since.

    None outside a clone, also in a clone of another project with lt_det installed in it.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != _PACKAGE.parent:
            return None
        return _git("describe", "--always", "--abbrev=12", "--dirty", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def processor() -> str:
    """The model of the processor; its architecture if the model is not known."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    models = (line.partition(": ")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_PACKAGE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
