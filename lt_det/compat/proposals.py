"""Detectron2's reader of proposal files, seen in release 0.6 and on the main branch: it runs what a pickle says."""

from __future__ import annotations

import io
import types
from collections.abc import Mapping
from typing import IO, Any, ClassVar

from detectron2.data import build
from detectron2.structures import BoxMode

from lt_det.errors import LtDetError
from lt_det.io.plain_values.pickles import PlainUnpickler


class _Unpickler(PlainUnpickler):
    names: ClassVar[Mapping[str, Any]] = {"detectron2.structures.boxes.BoxMode": lambda value: BoxMode(value)}


def read_proposals_as_plain_values() -> None:
    """From now on, Detectron2 reads DATASETS.PROPOSAL_FILES_* as arrays and plain values, and runs nothing in them.

    Patched for good, because it unpickles these files deep inside its loaders.
    """
    build.pickle = types.SimpleNamespace(load=_read)


def _read(file: IO[bytes], encoding: str = "latin1") -> Any:
    try:
        return _Unpickler(io.BytesIO(file.read()), encoding=encoding).load()
    except Exception as error:  # of a corrupt pickle: whatever its instructions lead to
        raise LtDetError(
            f"The proposals {getattr(file, 'name', '')} cannot be read ({error}); give a pickle of NumPy arrays, as "
            "Detectron2 writes it (DATASETS.PROPOSAL_FILES_TRAIN, PROPOSAL_FILES_TEST)."
        ) from error
