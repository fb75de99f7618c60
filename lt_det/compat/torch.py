"""torch, seen in 2.1 to 2.14: private or patched pieces, and names that changed between versions."""

from __future__ import annotations

import os
import pickle
import traceback
import types
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from lt_det.io.plain_values.pickles import PlainUnpickler, numpy_names


def grad_scaler(device: str, enabled: bool) -> Any:
    """The scaler of mixed-precision training; torch before 2.3 has one for GPUs only."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)


def autocast_dtypes() -> set[torch.dtype]:
    """The precisions in which autocast computes at this moment, on GPUs or on the CPU; empty where it is off."""
    if hasattr(torch, "get_autocast_dtype"):
        return {torch.get_autocast_dtype(kind) for kind in ("cuda", "cpu") if torch.is_autocast_enabled(kind)}
    dtypes = set()  # torch before 2.4 has one function for each kind of device
    if torch.is_autocast_enabled():
        dtypes.add(torch.get_autocast_gpu_dtype())
    if torch.is_autocast_cpu_enabled():
        dtypes.add(torch.get_autocast_cpu_dtype())
    return dtypes


def keep_in_evaluation_mode(layer: nn.Module) -> None:
    """Put a layer into evaluation mode for good.

    Patched, because Detectron2 calls ``model.train()`` again after each evaluation.
    """
    layer.eval()
    layer.train = lambda mode=True: layer  # type: ignore[method-assign]


def load_weights_only(file: str, mmap: bool = False) -> Any:
    """`torch.load` on the CPU that runs nothing of the file, and knows NumPy's scalars, arrays and dtypes of numbers.

    torch before 2.6 cannot be given names under which older files know a function (`safe_globals`); there lt_det's own
    reader of pickles stands in, which knows what torch's reader allows.

    Args:
        file: path.
        mmap: whether to map the tensors into memory instead of reading them; for zip archives only.

    Raises:
        pickle.UnpicklingError: the file holds something else; also what else torch raises for files that are corrupt.
    """
    if torch.__version__ < "2.6":  # TorchVersion, which compares as versions do
        return _load_with_own_reader(file, mmap)
    from torch.serialization import get_safe_globals, safe_globals

    named: list[Any] = [(function, name) for name, function in numpy_names().items()]
    named += sorted({type(np.dtype(code)) for code in "?bBhHiIlLqQefdFD"}, key=repr)
    with safe_globals([entry for entry in named if entry not in get_safe_globals()]):
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)


def _load_with_own_reader(file: str, mmap: bool) -> Any:
    from torch import _weights_only_unpickler

    class Unpickler(PlainUnpickler):
        names: ClassVar[Mapping[str, Any]] = {**_weights_only_unpickler._get_allowed_globals(), **numpy_names()}

    reader = types.SimpleNamespace(
        __name__="pickle", Unpickler=Unpickler, load=lambda file, **options: Unpickler(file, **options).load()
    )
    return torch.load(file, map_location="cpu", pickle_module=reader, weights_only=False, mmap=mmap)


def is_dead_worker(error: BaseException | None) -> bool:
    """Whether an exception of a data loader means that a worker has died.

    Mostly torch says so itself. But while the kernel clears a killed worker away, its sockets are closed and its
    process is not yet gone: then the exception is that of fetching its tensors, such as ConnectionResetError.
    """
    if isinstance(error, RuntimeError) and str(error).startswith(DEAD_WORKER):
        return True
    if not isinstance(error, OSError | EOFError | RuntimeError | pickle.UnpicklingError):
        return False
    if str(error).startswith("Caught ") and "in pin memory thread" in str(error):
        return isinstance(error, OSError | EOFError)
    frames = traceback.extract_tb(error.__traceback__)
    of_loader = [os.path.join("torch", "utils", "data", "dataloader.py") in frame.filename for frame in frames]
    fetches = any(inside and frame.name == "_try_get_data" for inside, frame in zip(of_loader, frames, strict=True))
    return fetches and not of_loader[-1]  # what the loader raises itself has another cause


def is_of_other_optimizer(error: BaseException) -> bool:
    """Whether an exception is an optimizer's that refuses the state of another kind, or of other parameter groups."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(os.path.join("torch", "optim", "optimizer.py") in frame.filename for frame in frames)


DEAD_WORKER = "DataLoader worker (pid"  # the beginning of torch's message about a data loader worker that died
