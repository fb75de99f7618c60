"""Read checkpoints of lt_det, Detectron2, its model zoo, Caffe2 and pycls; nothing that a file holds is run.

Detectron2's own checkpointer opens ``.pkl`` files, and with torch before 2.6 all others, in a way that runs any program
in them. It also looks at no checksum, so that flipped bits become weights.
"""

from __future__ import annotations

import io
import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lt_det.compat.torch import load_weights_only
from lt_det.errors import LtDetError
from lt_det.io.plain_values.pickles import ForbiddenNameError, PlainUnpickler

# The beginnings of files that are often found in the place of weights.
_OTHER_FILES = {
    b"version https://git-lfs": "is a Git LFS pointer, without the file that it points to; run `git lfs pull`",
    b"<!doctype html": "is a web page; download the file itself",
    b"<html": "is a web page; download the file itself",
    b"<?xml": "is an XML file; download the file itself",
    b"\x1f\x8b": "is compressed with gzip; unpack it",
    b"\xfd7zxz": "is compressed with xz; unpack it",
    b"7z\xbc\xaf": "is a 7z archive; unpack it",
    b"{": "is a json file; give the checkpoint",
    b"\x89hdf": "is an HDF5 file; convert it to a checkpoint of torch",
}
_IN_REASON = re.compile(r"GLOBAL (\S+)|it holds (.+?)(?:\n|$)")  # messages of torch and of `ForbiddenNameError`


class UnusableFileError(LtDetError):
    """A file is no checkpoint, or damaged.

    Attributes:
        why: why, and what to do, as a part of a sentence.
    """

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        super().__init__(f"The weights {path} cannot be loaded: {why}.")
        self.why = why


def read_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The checkpoint in a file.

    Args:
        path: of a local file. ``.pkl`` is Detectron2's or Caffe2's model zoo, ``.pyth`` pycls, all others torch.

    Returns:
        The dictionary that Detectron2's checkpointer uses: "model" has the weights by name, as finite tensors;
        "matching_heuristics" and "__author__" say how to rename weights of other projects; all else is as saved.

    Raises:
        LtDetError: there is no such file, it is corrupt, is no checkpoint, holds more than weights and plain values, or
            has weights that are infinite or NaN.
    """
    return finite_weights(open_checkpoint(path), path)


def finite_weights(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """The checkpoint, with each weight as a tensor.

    Raises:
        LtDetError: see `read_weights`.
    """
    weights = checkpoint["model"]
    for name, value in list(weights.items()):
        weights[name] = _as_tensor(value, name, path)
    bad = [name for name, weight in weights.items() if not _is_finite(weight)]
    if bad:
        raise LtDetError(
            f"{len(bad)} of {len(weights)} weights in {path} are infinite or NaN, the first of them {bad[0]}; use "
            "another checkpoint."
        )
    return checkpoint


def open_checkpoint(path: str | os.PathLike[str], mmap: bool = False) -> dict[str, Any]:
    """As `read_weights`, but whether the weights are numbers, and finite, is not looked at.

    Args:
        path: of a local file.
        mmap: map tensors into memory instead of reading them, and skip the checksums: for a look at other entries.
    """
    check_file(path)
    if not mmap:
        check_sums(path)
    content = load_plain(path, mmap)
    return as_checkpoint(content, Path(path))


def check_file(path: str | os.PathLike[str]) -> None:
    """
    Raises:
        UnusableFileError: there is no file, it cannot be read, or its beginning is not that of a checkpoint.
    """
    if Path(path).is_dir():
        raise UnusableFileError(path, "it is a folder; give the checkpoint in it, such as model_final.pth")
    if not Path(path).is_file():
        raise UnusableFileError(path, "there is no such file; correct MODEL.WEIGHTS or the path")
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise UnusableFileError(path, f"{error.strerror}; correct its permissions") from error
    if not start:
        raise UnusableFileError(path, "the file is empty; use another checkpoint, or download it again")
    for beginning, what in _OTHER_FILES.items():
        if start.lstrip().lower().startswith(beginning):
            raise UnusableFileError(path, f"the file {what}")
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < Path(path).stat().st_size:
        raise UnusableFileError(
            path, "the file is in the safetensors format; load it with safetensors and save it with torch.save"
        )
    if start.startswith(b"PK") and not _is_archive(path):
        raise UnusableFileError(path, "the file is truncated; use another checkpoint, or download it again")
    if _is_archive(path) and _is_torchscript(path):
        what = "a program of TorchScript, such as lt-det export writes"
        raise UnusableFileError(path, f"the file is {what}; give the checkpoint that it was made of")
    if _is_archive(path) and (inside := _checkpoint_inside(path)):
        raise UnusableFileError(path, f"the file is a zip archive with {inside} in it; unpack it")


def _is_archive(path: str | os.PathLike[str]) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except Exception:  # of a corrupt archive: whatever the zipfile module meets
        return False


def _is_torchscript(path: str | os.PathLike[str]) -> bool:
    """torch would hand such an archive to another loader."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("constants.pkl") for name in archive.namelist())
    except Exception as error:  # as above
        raise _corrupt(path, str(error)) from error


def _checkpoint_inside(path: str | os.PathLike[str]) -> str:
    """The first checkpoint that someone has put into a zip archive; empty for what torch writes."""
    with zipfile.ZipFile(path) as archive:  # `_is_torchscript` has read the names
        return next((name for name in archive.namelist() if name.endswith((".pth", ".pt", ".ckpt"))), "")


def check_sums(path: str | os.PathLike[str]) -> None:
    """Compare the checksums in a zip archive, which torch does not; older files have none.

    Raises:
        LtDetError: bytes have changed since the file was written.
    """
    if not _is_archive(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except Exception as error:  # as above
        raise _corrupt(path, str(error)) from error
    if bad is not None:
        raise _corrupt(path, f"the checksum of {bad} does not match")


def load_plain(path: str | os.PathLike[str], mmap: bool = False) -> Any:
    """The content of a file that holds tensors, NumPy arrays of numbers, and plain values only.

    Raises:
        LtDetError: it holds more, or is no pickle.
    """
    try:
        if str(path).endswith(".pkl"):
            return PlainUnpickler(io.BytesIO(Path(path).read_bytes())).load()  # no length in it reserves memory
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sparse tensors and old formats: what matters is checked afterwards
            return load_weights_only(str(path), mmap and _is_archive(path))
    except Exception as error:  # of a corrupt pickle: whatever its instructions lead to
        if isinstance(error, ForbiddenNameError):
            raise _holds_more(path, error.name) from error
        named = _IN_REASON.search(str(error))
        if named:
            raise _holds_more(path, named[1] or named[2]) from error
        reason = str(error).strip().partition("WeightsUnpickler error:")
        lines = (reason[2] or reason[0]).strip().split("\n")
        raise _corrupt(path, lines[0].rstrip(".") or type(error).__name__) from error


def _holds_more(path: str | os.PathLike[str], name: str) -> LtDetError:
    stripped = Path(path).with_name(f"{Path(path).stem}_weights.pth").name
    return LtDetError(
        f"The weights {path} hold more than weights and plain values: {name}, which could execute code, so that the "
        f"file was not loaded; if you trust it, extract its weights with `lt-det strip-weights {path} {stripped} "
        "--allow-unsafe-weights`."
    )


def _corrupt(path: str | os.PathLike[str], reason: str) -> UnusableFileError:
    why = f"the file is corrupt, or no checkpoint ({reason})"
    return UnusableFileError(path, f"{why}; use another checkpoint, or download it again")


def as_checkpoint(content: Any, path: Path) -> dict[str, Any]:
    """What a file holds, as the dictionary of `read_weights`; the rules are those of Detectron2's checkpointer."""
    if not isinstance(content, dict):
        raise LtDetError(
            f"The weights {path} are no checkpoint: the file holds {_kind(content)}, not weights by name; give the "
            "checkpoint of a training."
        )
    if path.suffix == ".pkl":
        if not ("model" in content and "__author__" in content):
            blobs = content.get("blobs", content)  # detectors have them, networks for ImageNet do not
            blobs = blobs if isinstance(blobs, dict) else {}
            kept = {name: blob for name, blob in blobs.items() if not str(name).endswith("_momentum")}
            content = {"model": kept, "__author__": "Caffe2", "matching_heuristics": True}
    elif path.suffix == ".pyth":
        state = content.get("model_state")
        state = state if isinstance(state, dict) else {}
        kept = {name: weight for name, weight in state.items() if not str(name).endswith("num_batches_tracked")}
        content = {"model": kept, "__author__": "pycls", "matching_heuristics": True}
    elif "model" not in content:
        content = {"model": content}
    if not isinstance(content["model"], dict) or not content["model"]:
        raise LtDetError(
            f"The weights {path} are no checkpoint: there are no weights by name in it; give the checkpoint of a "
            "training."
        )
    return content


def _as_tensor(value: Any, name: Any, path: str | os.PathLike[str]) -> Tensor:
    if isinstance(value, np.ndarray | np.generic):
        try:
            native = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")).reshape(np.shape(value))
            value = torch.from_numpy(native)
        except TypeError as error:
            raise LtDetError(
                f"The weights {path} cannot be used: {name} is an array of {value.dtype}, which torch lacks."
            ) from error
    if not (isinstance(value, Tensor) and isinstance(name, str)):
        raise LtDetError(
            f"The weights {path} are no checkpoint: their entry {str(name)!r:.80} is {_kind(value)}, not a weight; "
            "give the checkpoint of a training, or its weights alone (`lt-det strip-weights`)."
        )
    return value


def _is_finite(weight: Tensor) -> bool:
    if weight.is_quantized or not (weight.is_floating_point() or weight.is_complex()) or weight.is_meta:
        return True
    values = weight.coalesce().values() if weight.is_sparse else weight
    values = values.float() if values.element_size() == 1 else values  # torch compares no 8-bit floats
    return bool(torch.isfinite(values).all())


def _kind(value: Any) -> str:
    """The type of a value, in words."""
    if value is None:
        return "None"
    known = {dict: "a dictionary", list: "a list", tuple: "a tuple", str: "a text", int: "a number", float: "a number"}
    return known.get(type(value), f"a {type(value).__name__}")
