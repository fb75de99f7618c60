"""Timeouts and errors of torch.distributed that have no public interface."""

from __future__ import annotations

import re
from datetime import timedelta

from detectron2.utils import comm
from torch import distributed

# Public in torch 2.14.1, private before, missing in 2.1.2.
CAN_CHANGE_TIMEOUT = hasattr(distributed, "set_timeout") or hasattr(distributed.distributed_c10d, "_set_pg_timeout")

# What gloo and NCCL write where a peer is gone or does not answer; torch 2.1.2 to 2.14.1 raise a plain RuntimeError.
_PEER_FAILURE = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")


def set_timeout(timeout: timedelta) -> None:
    """Change the timeout of the default process group and of the one in which Detectron2 gathers objects.

    On the CPU both are the same group. Does nothing where torch cannot change a timeout (`CAN_CHANGE_TIMEOUT`).
    """
    for group in (distributed.group.WORLD, comm._get_global_gloo_group()):  # Detectron2 0.6 and main
        if hasattr(distributed, "set_timeout"):
            distributed.set_timeout(timeout, group)
        elif CAN_CHANGE_TIMEOUT:
            distributed.distributed_c10d._set_pg_timeout(timeout, group)


def is_peer_failure(error: BaseException | None) -> bool:
    """Whether torch raised this because another process has ended or does not answer."""
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _PEER_FAILURE)


def short_reason(error: BaseException) -> str:
    """First line of an error of gloo or NCCL, without the C++ source position and the advice."""
    return re.sub(r"^\[\S+\] |\. This is .*", "", str(error).strip().split("\n")[0])
