"""What lt_det's commands do not show: warnings of Detectron2 about which a user can do nothing. All others stay."""

import logging
import os
import subprocess
import sys
import warnings

import pytest
import torch

from lt_det.compat.known_warnings import silence_known_warnings
from tests.helpers import REPOSITORY


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Neither what earlier tests left for the processes that they start, nor anything for later ones."""
    monkeypatch.setenv("PYTHONWARNINGS", "")


def test_known_warnings_are_dropped_and_others_stay(caplog):
    logger = logging.getLogger("torch.fx._symbolic_trace")
    before = list(logger.filters)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            silence_known_warnings()
            warnings.warn_explicit(
                "`broadcast_buffers` is deprecated.", FutureWarning, "a.py", 1, "detectron2.engine.defaults"
            )
            warnings.warn_explicit("`broadcast_buffers` is deprecated.", FutureWarning, "a.py", 1, "scripts.of_a_user")
            warnings.warn("the user's own", FutureWarning, stacklevel=1)
            with caplog.at_level(logging.WARNING):
                logger.warning("is_fx_tracing will return true for both ...")
                logger.warning("something else")
                logging.getLogger("torch.utils.cpp_extension").warning("No CUDA runtime is found, using ...")
        assert [(str(found.message), found.filename == "a.py") for found in caught] == [
            ("`broadcast_buffers` is deprecated.", True),
            ("the user's own", False),
        ]
        assert caplog.messages == ["something else"]
    finally:
        logger.filters = before


def test_filters_of_the_user_take_precedence(monkeypatch):
    """In PYTHONWARNINGS, the later of two filters does."""
    monkeypatch.setenv("PYTHONWARNINGS", "error::FutureWarning")
    for _ in range(2):
        silence_known_warnings()
        first, second = os.environ["PYTHONWARNINGS"].split(",")
        assert first.startswith("ignore:")
        assert second == "error::FutureWarning"


@pytest.mark.slow
def test_a_process_that_is_started_imports_detectron2_without_warnings():
    """As a worker of a data loader does, which may import Detectron2 before lt_det."""
    script = """
import subprocess, sys
from lt_det.compat.known_warnings import silence_known_warnings
silence_known_warnings()
subprocess.run([sys.executable, "-c", "import detectron2.data"], check=True)
"""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["train_net", "lazyconfig_train_net", "demo", "export"])
def test_a_tool_starts_without_warnings(tool):
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-W", "default", f"tools/{tool}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=env, timeout=300)
    assert done.returncode == 0
    assert "detectron2" not in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.slow
def test_doctor_imports_without_warnings():
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-W", "default", "-m", "lt_det.cli", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert "detectron2" in done.stdout
    assert "Warning" not in done.stdout + done.stderr


@pytest.mark.slow
def test_importing_detectron2_hides_nothing_else():
    script = "import lt_det.compat.quiet_import, torch; torch.jit.script(torch.nn.Linear(1, 1))"
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=300)
    assert done.stderr.count("Warning") == int(torch.__version__ >= "2.14"), done.stderr
