"""torch.compile for the part of a detector where it is safe: the backbone (MODEL.COMPILE)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import Any

import torch
from torch import nn

from lt_det.errors import LtDetError
from lt_det.trainer_keys import COMPILE, mark_applied


def compile_backbone(model: nn.Module) -> None:
    """Compile ``model.backbone`` in place, for images of any size; the first iterations then take minutes.

    The names of the weights stay, so that checkpoints fit a model that is not compiled, and the other way round. RPN,
    RoI pooling and the box heads are left alone: the number of their boxes differs between images, and so do the Python
    objects that hold them.

    Args:
        model: a detector of Detectron2, not the DistributedDataParallel around it.

    Raises:
        LtDetError: there is no backbone, torch is too old, or it finds no compiler.
    """
    backbone: Any = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise LtDetError(f"MODEL.COMPILE compiles the backbone, but {type(model).__name__} has none; set it to False.")
    if not hasattr(backbone, "compile"):
        raise LtDetError(f"MODEL.COMPILE needs torch 2.2 or later, but this is {torch.__version__}; set it to False.")
    check_compiler(next(backbone.parameters()).device.type)
    backbone.compile(dynamic=True)
    mark_applied(model, COMPILE)


def check_compiler(device: str) -> None:
    """
    Args:
        device: "cpu", "cuda", ...

    Raises:
        LtDetError: torch.compile has no compiler for this device here.
    """
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        raise LtDetError(
            "MODEL.COMPILE (LazyConfig: train.compile) is True, but the package triton, with which torch.compile makes "
            "code for the GPU, is not installed; pip install triton, or set it to False."
        )
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # torch looks for no other one
    if shutil.which(compiler.partition(" ")[0]) is None:
        raise LtDetError(
            f"MODEL.COMPILE (LazyConfig: train.compile) is True, but torch.compile finds no C++ compiler ({compiler}); "
            "install g++, set CXX to another one, or set the key to False."
        )
