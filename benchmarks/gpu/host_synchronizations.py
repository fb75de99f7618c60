"""How often the host waits for the GPU: counted by torch on a GPU, and from the operations on the CPU.

On the CPU nothing waits, so `OPERATIONS` says which operations would on a GPU. What lt_det does on the CPU only is left
out: the checks of targets, and the fast path of the sigmoid losses.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lt_det.losses import ClassificationLoss, plain_formulas
from lt_det.losses._rows import checked

# Waits per call on a GPU: the host needs the size or the value of the result, or copies from its own memory.
OPERATIONS = {
    "_local_scalar_dense": 1,  # item, bool, int, float
    "nonzero": 1,
    "masked_select": 1,
    "_unique2": 1,
    "unique_dim": 1,
    "unique_consecutive": 1,
    "bincount": 2,  # for the smallest and the largest value
    "multinomial": 2,  # whether the weights are finite, and whether they are all zero
    "repeat_interleave": 1,
}
# Between the memories of host and GPU.
_COPIES = {Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.new_tensor, torch.tensor}
_ON_THE_CPU_ONLY = {checked.__code__, ClassificationLoss.checked_logits.__code__}


class HostSynchronizations:
    """Context manager that counts; `count` is the number after the end."""

    def __init__(self, device: str) -> None:
        self.count = 0
        self._on_gpu = device == "cuda"

    def __enter__(self) -> HostSynchronizations:
        if self._on_gpu:
            torch.cuda.synchronize()
            self._caught = warnings.catch_warnings(record=True)
            self._warnings = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        else:
            self._modes = plain_formulas(), _Operations(self), _Copies(self)
            for mode in self._modes:
                mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._on_gpu:
            torch.cuda.set_sync_debug_mode("default")
            self._caught.__exit__(*error)
            self.count = sum("synchronizing CUDA operation" in str(one.message) for one in self._warnings or ())
        else:
            for mode in reversed(self._modes):
                mode.__exit__(*error)


class _Operations(TorchDispatchMode):
    def __init__(self, found: HostSynchronizations) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        waits = OPERATIONS.get(name, 0)
        if name in ("index", "index_put", "index_put_"):
            is_fill = name != "index" and args[2].numel() == 1  # by a kernel that needs no indices
            masks = [one for one in args[1] if one is not None and one.dtype in (torch.bool, torch.uint8)]
            waits = 0 if is_fill else len(masks)
        if waits and not _is_on_the_cpu_only(sys._getframe(1)):
            self._found.count += waits
        return func(*args, **(kwargs or {}))


class _Copies(TorchFunctionMode):
    def __init__(self, found: HostSynchronizations) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._found.count += func in _COPIES
        return func(*args, **(kwargs or {}))


def _is_on_the_cpu_only(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code in _ON_THE_CPU_ONLY:
            return True
        frame = frame.f_back
    return False
