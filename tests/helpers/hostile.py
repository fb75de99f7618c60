"""Files that would run a program when they are read carelessly: it creates a file, by which a test sees that it ran."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np


class Program:
    """An object whose pickle creates a file."""

    def __init__(self, created: Path) -> None:
        self.created = created

    def __reduce__(self):
        return os.system, (f"touch {self.created}",)


def hostile_config(file: Path, created: Path, base: str = "") -> Path:
    """A config that trains mini_lvis, if its base is given, and creates a file when PyYAML reads it unsafely."""
    inherited = f"_BASE_: {base}\n" if base else ""
    file.write_text(f"{inherited}OUTPUT_DIR: !!python/object/apply:os.system ['touch {created}']\n")
    return file


def hostile_weights(folder: Path, created: Path) -> list[Path]:
    """Checkpoints of every kind that Detectron2 opens, each with a program in it."""
    import torch  # tests of the lower floors do without it

    contents = {"model": {"weight": torch.ones(2)}, "program": Program(created)}
    files = [folder / name for name in ("new.pth", "old.pth", "zoo.pkl", "text.pkl", "pycls.pyth")]
    torch.save(contents, files[0])
    torch.save(contents, files[1], _use_new_zipfile_serialization=False)
    arrays = {"model": {"weight": np.ones(2)}, "__author__": "someone", "program": Program(created)}
    files[2].write_bytes(pickle.dumps(arrays, 2))
    files[3].write_bytes(pickle.dumps(arrays, 0))
    torch.save({"model_state": {"weight": torch.ones(2)}, "program": Program(created)}, files[4])
    return files
