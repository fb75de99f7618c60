"""How long the processes of a training run wait for each other."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from detectron2.utils import comm

from lt_det.compat.torch_distributed import set_timeout
from lt_det.errors import LtDetError

_MINUTES_PER_YEAR = 365 * 24 * 60  # torch counts nanoseconds in 64 bits


@dataclass(frozen=True)
class Timeouts:
    """How long a process waits for the others.

    Attributes:
        start: until all processes have connected.
        training: in one collective operation of a training step; longer means that a process is dead or hangs.
        evaluation: while the main process evaluates the gathered detections.
    """

    start: timedelta
    training: timedelta
    evaluation: timedelta

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Timeouts:
        """Read ``--start-timeout``, ``--training-timeout`` and ``--evaluation-timeout``, in minutes.

        Raises:
            LtDetError: a timeout is not a positive number of at most a year.
        """
        minutes = {name: getattr(args, f"{name}_timeout") for name in ("start", "training", "evaluation")}
        for name, value in minutes.items():
            if not 0 < value < _MINUTES_PER_YEAR:
                raise LtDetError(
                    f"--{name}-timeout is {value:g} minutes; give a positive number that is less than a year."
                )
        return cls(**{name: timedelta(minutes=value) for name, value in minutes.items()})


_current: Timeouts | None = None  # None in a single process


def use_timeouts(timeouts: Timeouts) -> None:
    """Set the timeouts that `evaluation_timeout` switches between; call it once the process group exists."""
    global _current
    _current = timeouts


@contextlib.contextmanager
def evaluation_timeout() -> Iterator[None]:
    """Context in which processes wait for each other for ``--evaluation-timeout``, not ``--training-timeout``.

    The main process evaluates alone, for minutes or an hour, while the others wait. All processes must enter it. It
    ends with a barrier: in the next training step the main process must be back.
    """
    if _current is None:
        yield
        return
    set_timeout(_current.evaluation)
    try:
        yield
        comm.synchronize()
    finally:
        set_timeout(_current.training)
