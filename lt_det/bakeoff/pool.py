"""Run the trials of the candidates, in this process or in several."""

from __future__ import annotations

import logging
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
from lt_det.user_modules import import_user_modules

logger = logging.getLogger(__name__)

_POLL = 1.0  # seconds between two checks of the main process

_trials: Trials | str  # of this process, if it is one of several; or why it has none


def run_trials(
    cfg: Any, options: BakeoffOptions, trials: Trials, candidates: Sequence[Candidate]
) -> Iterator[tuple[Candidate, str | None]]:
    """Do the trials of candidates that are not finished.

    Args:
        cfg: see `Trials`.
        options: with the number of processes.
        trials: of this process.
        candidates: in the order in which they start.

    Yields:
        Each candidate when its trials are done, and why it has failed, or None.

    Raises:
        LtDetError: a process was killed.
    """
    number = min(options.num_processes, len(candidates))
    if number < 2:
        for candidate in candidates:
            yield candidate, _failure(trials, candidate)
        return
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(
        number,
        multiprocessing.get_context("spawn"),  # a forked process cannot use CUDA, nor torch's threads
        _prepare,
        (cfg, options, trials.cache.folder, trials.store.folder, max(1, _num_cores() // number)),
    )
    try:
        running = {pool.submit(_work, candidate): candidate for candidate in candidates}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool as error:
        raise LtDetError(
            "A process of the bake-off was killed, perhaps because memory ran out; run the same command again with "
            "fewer processes (--num-processes), which keeps what is finished."
        ) from error
    finally:
        for process in multiprocessing.active_children():
            if process not in others:  # after an interruption they would go on to the end of their trials
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _prepare(cfg: Any, options: BakeoffOptions, features: Path, folder: Path, threads: int) -> None:
    """Set up a process of the pool."""
    global _trials
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # the main process reports Ctrl-C
    main_process = multiprocessing.parent_process()
    assert main_process is not None
    threading.Thread(target=_end_with, args=(main_process.pid,), daemon=True).start()
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    try:
        import_user_modules()
        if cfg.MODEL.DEVICE == "cuda":
            number = int(multiprocessing.current_process().name.rpartition("-")[2])
            cfg.MODEL.DEVICE = f"cuda:{number % torch.cuda.device_count()}"
        register_from_config(cfg)
        _trials = Trials(cfg, options, features, folder)
    except Exception as error:  # of an initializer, a pool reports only that the process is gone
        _trials = _sentence(error)


def _end_with(parent: int) -> None:
    """End when the main process is gone, which could be killed; a process of the pool would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(_POLL)
    os._exit(1)


def _work(candidate: Candidate) -> str | None:
    return _trials if isinstance(_trials, str) else _failure(_trials, candidate)


def _failure(trials: Trials, candidate: Candidate) -> str | None:
    """Do a candidate's trials, and return why they failed, or None: one that fails does not stop the others."""
    try:
        trials.complete(candidate)
    except Exception as error:
        if not isinstance(error, LtDetError):  # a bug, perhaps in a loss or a sampler of the user's own
            logger.exception("%s", candidate.name)
        return _sentence(error)
    return None


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, LtDetError) else f"{type(error).__name__}: {error}"
