"""The processes of a training compare their configs and data at the start, instead of training on different ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training.resume.data_fingerprint import DataFingerprint

# Last parts of keys that may differ between machines: paths, and what depends on their hardware.
_OF_MACHINE = {"OUTPUT_DIR", "CLASS_STATS", "JSON", "IMAGES", "NUM_WORKERS", "CUDNN_BENCHMARK"}
_OF_MACHINE |= {"PROPOSAL_FILES_TRAIN", "PROPOSAL_FILES_TEST"}
_OF_MACHINE |= {"output_dir", "init_checkpoint", "num_workers", "json_file", "image_root"}
_DEVICES = ("DEVICE", "device")

_Fact = TypeVar("_Fact")


def check_same_config(cfg: Any) -> None:
    """Compare the configs of all processes, apart from paths and keys that depend on the machine.

    Args:
        cfg: yaml config or LazyConfig.

    Raises:
        LtDetError: they differ; in all processes.
    """
    _compare(_flat(cfg), _config_difference)


def check_same_data(data: DataFingerprint, part: str = "training data") -> None:
    """Compare the data of all processes.

    Args:
        data: of this process.
        part: what they are, in the plural, for the message.

    Raises:
        LtDetError: they differ; in all processes.
    """
    _compare(data, lambda first, other: _data_difference(first, other, part))


def check_same_option(name: str, given: bool) -> None:
    """
    Raises:
        LtDetError: only some of the processes were given an option; in all processes.
    """
    _compare(given, lambda first, other: f"only one of them has {name}" if first != other else "")


def check_same_weights(model: nn.Module) -> None:
    """Compare the weights that the processes have loaded; each would train its own otherwise.

    Raises:
        LtDetError: they differ; in all processes.
    """
    if comm.get_world_size() > 1:
        _compare(_check_sums(model), _weight_difference)


def _compare(mine: _Fact, difference: Callable[[_Fact, _Fact], str]) -> None:
    if comm.get_world_size() == 1:
        return
    first, *others = comm.all_gather(mine)
    for rank, other in enumerate(others, 1):
        if found := difference(first, other):
            raise LtDetError(
                f"Process {rank} was started with other settings than process 0: {found}; give all processes the same "
                "config, options and data."
            )


def _config_difference(first: Mapping[str, str], other: Mapping[str, str]) -> str:
    keys = [key for key in sorted(first.keys() | other.keys()) if first.get(key) != other.get(key)]
    keys = [key for key in keys if not ("/" in first.get(key, "") or "/" in other.get(key, ""))]  # paths
    if not keys:
        return ""
    key = keys[0]
    more = f" ({len(keys)} keys differ)" if len(keys) > 1 else ""
    return f"{key} is {other.get(key, 'missing')} instead of {first.get(key, 'missing')}{more}"


def _data_difference(first: DataFingerprint, other: DataFingerprint, part: str) -> str:
    found = other.changed_classes(first) or other.changed_images(first)
    return f"its {part} have {found}" if found else ""


def _weight_difference(first: Mapping[str, int], other: Mapping[str, int]) -> str:
    names = [name for name in first if first[name] != other.get(name)]
    return f"the weights {names[0]} differ after loading MODEL.WEIGHTS or the checkpoint" if names else ""


def _check_sums(model: nn.Module) -> dict[str, int]:
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    return {name: zlib.crc32(weight.reshape(-1).view(torch.uint8).numpy()) for name, weight in tensors.items()}


def _flat(cfg: Any) -> dict[str, str]:
    """Dotted keys and values as text, without those that may differ between machines."""
    found: dict[str, str] = {}

    def visit(node: Any, prefix: str) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                visit(value, f"{prefix}.{key}" if prefix else str(key))
        elif isinstance(node, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in node):
            for index, item in enumerate(node):
                visit(item, f"{prefix}[{index}]")
        elif (name := prefix.rpartition(".")[2]) not in _OF_MACHINE and prefix != "MODEL.WEIGHTS":
            found[prefix] = str(node).partition(":")[0] if name in _DEVICES else _as_text(node)

    visit(OmegaConf.to_container(cfg, resolve=False) if isinstance(cfg, DictConfig) else cfg, "")
    return found


def _as_text(value: Any) -> str:
    """The same in all processes: an object's own text often holds its address."""
    if value is None or isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_as_text, value))
    return str(getattr(value, "__qualname__", type(value).__qualname__))
