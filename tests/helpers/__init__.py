"""What several tests share: paths, generated data, small models, configs, and programs to start."""

import importlib.util
import json
import socket
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"  # real annotation files; most clones do not have them

# Files and folders below tests/ whose tests train or start processes; `make test-fast` leaves them out, as it does
# single tests that are marked slow.
SLOW = (
    "bakeoff/features/test_extraction.py",
    "bakeoff/test_bakeoff.py",
    "bakeoff/test_writing.py",
    "benchmarks",
    "cli/test_diagnose.py",
    "data/test_worker_signals.py",
    "inference/test_adjustment_search.py",
    "inference/test_export.py",
    "reporting/test_browser.py",
    "test_configs.py",
    "tools/test_demo.py",
    "tools/test_export.py",
    "tools/test_launch_scripts.py",
    "training/hooks",
    "training/launch",
    "training/log/test_writers.py",
    "training/resume",
    "training/test_accumulation.py",
    "training/test_cached_training.py",
    "training/test_decoupled.py",
    "training/test_diagnostics.py",
    "training/test_equip.py",
    "training/test_output_folder.py",
    "training/test_preemption.py",
    "training/test_tools.py",
    "zoo/test_adding.py",
    "zoo/test_gates.py",
)

needs_float16 = pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="float16 on the CPU needs torch 2.3")


def free_port():
    """A port of this machine that no process listens on."""
    with socket.socket() as taken:
        taken.bind(("", 0))
        return taken.getsockname()[1]


def copy_of_sources(folder: Path) -> Path:
    """What a clone has, in a folder: building a package leaves files beside its sources."""
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if not name.startswith(("tests/", "benchmarks/")) and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    return folder


def first_images(json_file, number):
    """The content of an annotation file, cut to its first `number` images."""
    data = json.loads(json_file.read_text())
    data["images"] = data["images"][:number]
    kept = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    return data


def assert_same(found, expected):
    """Assert that two values of a checkpoint are equal to the last bit."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif torch.is_tensor(expected) or isinstance(expected, np.ndarray):
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))
    else:
        assert found == expected


def load_tool(name: str) -> ModuleType:
    """A script of `tools/` as a module."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
