"""Subcommands that parse their own options; tools/ has them too, as scripts.

They may load torch and Detectron2 when they are imported, so `lt_det.cli` imports only the one that is called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import lt_det

HELP = {
    "train": "train a detector, or evaluate it with --eval-only",
    "demo": "draw the detections of a trained detector on images and videos",
    "export": "export a trained detector to one file that runs without lt_det, or for Detectron2 alone",
    "install-detectron2": "install a copy of Detectron2 on a machine that reaches only PyPI",
    "imagenet-weights": "write the ImageNet weights of a backbone to a file for MODEL.WEIGHTS",
}


def run_tool(name: str, words: Sequence[str]) -> int:
    """Run one of the programs in `HELP` with its own options, and return its exit code."""
    try:
        if name != "install-detectron2":
            lt_det.training  # noqa: B018 - imported here; the error says what of torch and Detectron2 is missing or broken
    except ImportError as error:
        if error.name:  # a mistake in lt_det
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return int(module.run(words, f"lt-det {name}"))
