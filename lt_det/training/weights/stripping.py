"""Write the weights of a checkpoint, and nothing else of it, to a new file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.io.atomic import atomic_file
from lt_det.training.weights.averaged import use_averages
from lt_det.training.weights.reading import as_checkpoint, check_file, check_sums, finite_weights, load_plain

_WEIGHTS = ("model", "state_dict", "model_state", "model_state_dict", "blobs")  # where checkpoints keep them

# What says how to read the weights: of Detectron2's model zoo, and of lt_det's checkpoints.
_WHAT_THE_WEIGHTS_ARE = (
    *("__author__", "matching_heuristics"),
    *("long_tail_box_heads", "long_tail_second_stage", "long_tail_families"),
)


def strip_weights(source: str | Path, target: str | Path, allow_unsafe: bool = False) -> int:
    """Write the weights of a checkpoint as ``{"model": {name: tensor}}``, which every command reads.

    Where the checkpoint holds their moving average (SOLVER.EMA), that is written.

    Args:
        source: a checkpoint; of lt_det, Detectron2, or a project that keeps its weights under "state_dict".
        target: a new file.
        allow_unsafe: run what the file says, as `pickle.load` and `torch.load` do: for files that you trust as you
            trust a program. Otherwise a file that holds more than weights and plain values is refused.

    Returns:
        The number of weights.

    Raises:
        LtDetError: see `read_weights`; also a target that exists or cannot be written.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise LtDetError(f"{target} exists already; give a new file.")
    if target.suffix in (".pkl", ".pyth"):
        raise LtDetError(f"{target} would be read as a file of another project; name it .pth.")
    check_file(source)
    check_sums(source)
    content = _load_and_run(source) if allow_unsafe else load_plain(source)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        use_averages(content)
    weights = finite_weights(_found_weights(content, source), source)
    kept = {"model": {name: weight.detach().clone() for name, weight in weights["model"].items()}}
    kept |= {key: weights[key] for key in _WHAT_THE_WEIGHTS_ARE if key in weights}
    try:
        with atomic_file(target) as file:
            torch.save(kept, file)
    except (OSError, RuntimeError) as error:
        raise LtDetError(f"{target} cannot be written ({error}); choose another place.") from error
    return len(kept["model"])


def _load_and_run(path: Path) -> Any:
    try:
        if path.suffix == ".pkl":
            with path.open("rb") as file:
                return pickle.load(file, encoding="latin1")
        return torch.load(str(path), map_location="cpu", weights_only=False)
    except ImportError as error:
        raise LtDetError(f"{path} needs {error.name or error}, which cannot be imported; install it.") from error
    except Exception as error:  # the file is a program, and can fail in any way
        raise LtDetError(
            f"{path} cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:200]}); give another."
        ) from error


def _is_plain(value: Any) -> bool:
    """Whether it is a text or a list of texts, as lt_det's checkpoints have them."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value))


def _only_weights(content: dict[str, Any], path: Path) -> list[Any]:
    """The weights under a key that is not known, such as "model_ema".

    Raises:
        LtDetError: there are several of them.
    """
    found = {key: value for key, value in content.items() if _are_weights(value)}
    if len(found) > 1:
        raise LtDetError(
            f"{path} holds weights under {', '.join(map(repr, found))}, and nothing says which to use; load it, and "
            "save one of them with torch.save."
        )
    return list(found.values())


def _are_weights(value: Any) -> bool:
    if isinstance(value, nn.Module):
        return True
    return isinstance(value, dict) and bool(value) and all(isinstance(weight, Tensor) for weight in value.values())


def _found_weights(content: Any, path: Path) -> dict[str, Any]:
    """The checkpoint of `read_weights`, with the weights alone."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if isinstance(content, dict):
        inner = [content[key] for key in _WEIGHTS if isinstance(content.get(key), dict | nn.Module)]
        inner = inner or _only_weights(content, path)
        if inner and path.suffix not in (".pkl", ".pyth"):
            kept = {key: content[key] for key in _WHAT_THE_WEIGHTS_ARE if _is_plain(content.get(key))}
            content = inner[0].state_dict() if isinstance(inner[0], nn.Module) else inner[0]
            content = {"model": {name: value for name, value in content.items() if isinstance(value, Tensor)}, **kept}
    return as_checkpoint(content, path)
