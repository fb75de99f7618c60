"""A short real training in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lt_det.datasets.mini_lvis.generate import write_mini_lvis
from tests.helpers import REPOSITORY

ITERATIONS = 40
_HANGS_AFTER = 600  # seconds without an end


def prepare(work: Path) -> Path:
    """Write a small dataset and a config, and return the config."""
    mini = write_mini_lvis(work / "mini_lvis", num_train=400, num_val=10, num_classes=12, progress=False)
    config = work / "config.yaml"
    config.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_eqlv2.yaml
DATASETS:
  REGISTER:
    disturbed_train: {{JSON: {mini.train_json}, IMAGES: {mini.image_root}}}
    disturbed_val: {{JSON: {mini.val_json}, IMAGES: {mini.image_root}}}
  TRAIN: ("disturbed_train",)
  TEST: ("disturbed_val",)
MODEL: {{ROI_HEADS: {{NUM_CLASSES: 12}}}}
INPUT: {{MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: {ITERATIONS}, STEPS: [30], WARMUP_ITERS: 5, CHECKPOINT_PERIOD: 7}}
TEST: {{EVAL_PERIOD: 15, RESAMPLES: 0}}
""")
    return config


class Training:
    """One OUTPUT_DIR, and the processes that train in it.

    Attributes:
        folder: OUTPUT_DIR.
        config: its yaml.
    """

    def __init__(self, config: Path, folder: Path) -> None:
        self.config, self.folder = config, folder
        self._outputs: list[Path] = []

    def start(self, *overrides: str, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start or resume in a process group of its own.

        Args:
            overrides: config keys and values.
            prefix: a command that runs the training.
        """
        output = self.folder.with_name(f"{self.folder.name}_output_{len(self._outputs)}.txt")
        self._outputs.append(output)
        command = [*prefix, sys.executable, str(REPOSITORY / "tools" / "train_net.py"), "--config", str(self.config)]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        with output.open("wb") as file:
            return subprocess.Popen(
                [*command, "--resume", "OUTPUT_DIR", str(self.folder), *overrides],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """The exit code, or None if it hangs, after which it is killed."""
        try:
            return process.wait(_HANGS_AFTER)
        except subprocess.TimeoutExpired:
            self.kill(process)
            return None

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the training with its loading processes."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def finish(self) -> int | None:
        """Train to the end without disturbance, and return the exit code."""
        return self.wait(self.start())

    def forget_output(self) -> None:
        """Do not look at what the last process printed."""
        self._outputs.pop().unlink()

    def output(self, number: int = -1) -> str:
        """What a process printed."""
        return self._outputs[number].read_text(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether the training has written its last checkpoint."""
        return (self.folder / "model_final.pth").exists()

    def weights(self) -> dict[str, Any]:
        contents: dict[str, Any] = torch.load(self.folder / "model_final.pth", weights_only=False)["model"]
        return contents

    def problems_after_finishing(self, undisturbed: Training) -> list[str]:
        """Resume to the end, and say what differs from an undisturbed training, or should not be there."""
        found = []
        code = self.finish()
        if code != 0:
            found.append(f"resuming ended with {code}: {self.output().strip().splitlines()[-1:]}")
            return found
        mine, theirs = self.weights(), undisturbed.weights()
        different = [name for name in theirs if name not in mine or not torch.equal(mine[name], theirs[name])]
        if different:
            found.append(f"{len(different)} weights differ, the first of them {different[0]}")
        iterations = [json.loads(line)["iteration"] for line in (self.folder / "metrics.json").read_text().splitlines()]
        if len(iterations) != len(set(iterations)):
            found.append(f"metrics.json has an iteration twice: {iterations}")
        left = [path.name for path in self.folder.rglob("*unfinished*")] + [p.name for p in self.folder.rglob("*.part")]
        if left:
            found.append(f"files were left behind: {left}")
        for number, path in enumerate(self._outputs):
            if "Traceback" in self.output(number):
                found.append(f"a traceback in {path.name}")
        if not found:
            for path in self._outputs:
                path.unlink()
        return found


def sleep_until_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Sleep, and return whether the process has ended meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    return process.poll() is not None
