"""Fill a feature cache with several new processes on this machine."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lt_det.bakeoff.features.filling import fill
from lt_det.bakeoff.features.options import FeatureOptions
from lt_det.bakeoff.features.plan import Plan
from lt_det.data import register_from_config
from lt_det.errors import INTERRUPTED, LtDetError
from lt_det.evaluation.progress import Track
from lt_det.training.launch.launcher import run
from lt_det.training.launch.options import argument_parser
from lt_det.training.launch.single_process import silence_inference
from lt_det.training.launch.timeouts import evaluation_timeout

_POLL = 0.1  # seconds


@dataclass(frozen=True)
class _Work:
    """What each process gets."""

    cfg: Any
    folder: Path
    options: FeatureOptions
    key: dict[str, Any]
    done: Any  # a queue with an entry for each image that is done


def fill_in_processes(
    cfg: Any, folder: Path, options: FeatureOptions, key: dict[str, Any], *, number: int, images: int, track: Track
) -> None:
    """Start processes as a training does (over gloo on the CPU), and wait until they have filled the tables.

    Args:
        cfg, folder, options, key: of the plan, which each process makes again.
        number: of processes.
        images: the number of images that are left to compute.
        track: wraps a loop over them, to show progress.

    Raises:
        LtDetError: a process failed; it has printed why.
        KeyboardInterrupt: the processes were interrupted.
    """
    processes = "--num-gpus" if cfg.MODEL.DEVICE.startswith("cuda") else "--num-processes"
    args = argument_parser().parse_args([processes, str(number), "--dist-url", "auto"])
    done = get_context("spawn").SimpleQueue()
    args.work = _Work(cfg, folder, options, key, done)
    with _progress(done, images, track):
        code = run(_fill_part, args)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise LtDetError(
            f"A process that computes the feature cache {folder} has failed, see its error above; run "
            "the same command again to continue."
        )


def _fill_part(args: argparse.Namespace) -> None:
    """One of the processes."""
    work: _Work = args.work

    def track(images: Iterable[int]) -> Iterator[int]:
        for image in images:
            yield image
            work.done.put(image)

    silence_inference()
    register_from_config(work.cfg)
    with evaluation_timeout():
        plan = Plan.make(work.cfg, work.folder, work.options, work.key)
        fill(work.cfg, plan.tables, plan.seed, track)


@contextmanager
def _progress(done: Any, images: int, track: Track) -> Iterator[None]:
    """Within, a thread shows the progress of the processes."""
    stop = threading.Event()

    def show() -> None:
        for _ in track(range(images)):
            while done.empty():
                if stop.is_set():
                    return
                time.sleep(_POLL)
            done.get()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
