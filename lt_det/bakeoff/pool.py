"""Run the trials of the candidates, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from lt_det.bakeoff.candidates import Candidate
from lt_det.bakeoff.options import BakeoffOptions
from lt_det.bakeoff.trials import Trials
from lt_det.data.registration import register_from_config
from lt_det.errors import LtDetError

_POLL = 1.0  # seconds between two checks of the main process

_trials: Trials  # of this process, if it is one of several


def run_trials(
    cfg: Any, options: BakeoffOptions, features: Path, folder: Path, candidates: Sequence[Candidate], trials: Trials
) -> Iterator[tuple[Candidate, str | None]]:
    """Do the trials that are not finished.

    Args:
        cfg, options, features, folder: see `Trials`.
        candidates: in the order in which they start.
        trials: of this process.

    Yields:
        Each candidate when its trials are done, and why it has failed, or None.

    Raises:
        LtDetError: a process was killed.
    """
    unfinished = [one for one in candidates if len(trials.finished(one)) < len(trials.parts(one))]
    for candidate in candidates:
        if candidate not in unfinished:
            yield candidate, None
    if options.num_processes == 1 or len(unfinished) < 2:
        for candidate in unfinished:
            yield candidate, _failure(trials, candidate)
        return
    pool = ProcessPoolExecutor(
        min(options.num_processes, len(unfinished)),
        multiprocessing.get_context("spawn"),  # a forked process cannot use CUDA, nor torch's threads
        _prepare,
        (cfg, options, features, folder),
    )
    try:
        running = {pool.submit(_run, candidate): candidate for candidate in unfinished}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool as error:
        raise LtDetError(
            "A process of the bake-off was killed, perhaps because memory ran out; run the same command again with "
            "fewer processes (--num-processes), which keeps what is finished."
        ) from error
    finally:
        for process in multiprocessing.active_children():  # after an interruption; else they have ended
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _prepare(cfg: Any, options: BakeoffOptions, features: Path, folder: Path) -> None:
    """Set up a process of the pool."""
    global _trials
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # the main process reports Ctrl-C
    main_process = multiprocessing.parent_process()
    assert main_process is not None
    threading.Thread(target=_end_with, args=(main_process.pid,), daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.num_processes))
    register_from_config(cfg)
    _trials = Trials(cfg, options, features, folder)


def _end_with(parent: int) -> None:
    """End when the main process is gone, which could be killed; a process of the pool would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(_POLL)
    os._exit(1)


def _run(candidate: Candidate) -> str | None:
    return _failure(_trials, candidate)


def _failure(trials: Trials, candidate: Candidate) -> str | None:
    """Do a candidate's trials, and return why they failed, or None: one that fails does not stop the others."""
    try:
        trials.run(candidate)
    except LtDetError as error:
        return str(error)
    return None
