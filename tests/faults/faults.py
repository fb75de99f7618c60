"""What can happen to a training. Each fault returns what went wrong before the training is resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.faults.training import Training, sleep_until_ended

Fault = Callable[[Training, float, random.Random], list[str]]


def _signalled(which: signal.Signals, expected: tuple[int, ...]) -> Fault:
    def fault(training: Training, moment: float, generator: random.Random) -> list[str]:
        process = training.start()
        if sleep_until_ended(process, moment):
            return []
        if which == signal.SIGKILL:
            training.kill(process)
            return []
        process.send_signal(which)
        code = training.wait(process)
        if code == -which:  # while Python imports, and before the training handles signals: as any program
            training.forget_output()
            return []
        return [] if code in (*expected, 0) else [f"{which.name} ended it with {code}"]

    return fault


def killed_loader(training: Training, moment: float, generator: random.Random) -> list[str]:
    """A loading process is killed, as by a machine that runs out of memory."""
    process = training.start()
    if sleep_until_ended(process, moment):
        return []
    children = _children(process.pid)
    if children:
        os.kill(generator.choice(children), signal.SIGKILL)
    code = training.wait(process)
    return [] if code is not None else ["it hangs after a loading process was killed"]


def full_disk(training: Training, moment: float, generator: random.Random) -> list[str]:
    """No file can become larger than a random size; where a disk is full, the same calls fail."""
    kib = generator.choice([0, 1, 4, 16, 64, 512, 4000])
    process = training.start(prefix=["bash", "-c", f'trap "" XFSZ; ulimit -f {kib}; exec "$@"', "bash"])
    code = training.wait(process)
    return [] if code is not None else [f"it hangs with files of at most {kib} KiB"]


def second_training(training: Training, moment: float, generator: random.Random) -> list[str]:
    """A second training starts in the same folder."""
    first = training.start()
    if sleep_until_ended(first, moment):
        return []
    started = (training.folder / "log.txt").exists()
    second = training.start()
    codes = training.wait(second), training.wait(first)
    if not started:  # either of them may be first
        return [] if 0 in codes else [f"two trainings ended with {codes}"]
    if codes[1] != 0:
        return [f"the first training ended with {codes[1]}"]
    return []


def changed_json(training: Training, moment: float, generator: random.Random) -> list[str]:
    """The training is killed, and two class names are swapped before it is resumed."""
    process = training.start()
    if sleep_until_ended(process, moment):
        return []
    training.kill(process)
    if not list(training.folder.glob("model_*.pth")):
        return []
    file = Path(_json_of(training.config))
    before = file.read_bytes()
    content = json.loads(before)
    one, other = content["categories"][:2]
    one["name"], other["name"] = other["name"], one["name"]
    file.write_text(json.dumps(content))
    try:
        code = training.finish()
    finally:
        file.write_bytes(before)
    if code == 0:
        return ["it was resumed after two class names were swapped"]
    return [] if one["name"] in training.output() else ["the message does not name a swapped class"]


FAULTS: dict[str, Fault] = {
    "kill": _signalled(signal.SIGKILL, ()),
    "terminate": _signalled(signal.SIGTERM, (143,)),
    "interrupt": _signalled(signal.SIGINT, (130,)),
    "requeue": _signalled(signal.SIGUSR1, (138,)),
    "killed_loader": killed_loader,
    "full_disk": full_disk,
    "second_training": second_training,
    "changed_json": changed_json,
}


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


def _json_of(config: Path) -> str:
    line = next(line for line in config.read_text().splitlines() if "disturbed_train:" in line)
    return line.partition("JSON: ")[2].partition(",")[0]
