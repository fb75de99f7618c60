"""Pretrained weights of timm for `TimmBackbone`, as a Detectron2 checkpoint that MODEL.WEIGHTS can name.

``MODEL.WEIGHTS: timm://resnet18`` lets timm download them; ``lt-det imagenet-weights`` writes them to a file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import torch
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler, get_cache_dir
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.io.atomic import write_atomically, writing_to
from lt_det.modeling.backbones.timm_fpn import check_name, feature_extractor, import_timm

PREFIX = "timm://"
_IN_DETECTOR = "backbone.bottom_up.body."  # where `build_timm_fpn_backbone` puts the network


def as_checkpoint(name: str, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Weights of a feature extractor of timm, as a checkpoint for MODEL.WEIGHTS.

    Args:
        name: of the timm model.
        weights: its state dict.
    """
    model = {_IN_DETECTOR + key: value.detach().clone() for key, value in weights.items()}
    return {"model": model, "__author__": f"timm {name}", "matching_heuristics": False}


def download(name: str) -> dict[str, Any]:
    """Let timm download the pretrained weights of a model, and return them as a checkpoint.

    Raises:
        LtDetError: timm is not installed, has no such model or no weights of it, or cannot download them.
    """
    address = download_address(name)
    try:
        body = feature_extractor(name, pretrained=True)
    except LtDetError:
        raise
    except Exception as error:  # of whatever library timm downloads with
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise LtDetError(
            f"timm cannot download the weights of {name} from {address} ({reason}); without internet, write a file on "
            "another machine with `lt-det imagenet-weights`, and name that in MODEL.WEIGHTS."
        ) from error
    return as_checkpoint(name, body.state_dict())


def download_address(name: str) -> str:
    """The file that timm downloads for the pretrained weights of a model, on the Hugging Face Hub.

    Raises:
        LtDetError: timm is not installed, has no such model, or no weights of it.
    """
    timm = import_timm()
    check_name(name, f"MODEL.WEIGHTS {PREFIX}{name}")
    try:
        pretrained = timm.get_pretrained_cfg(name)
    except RuntimeError:  # unknown tag, as in resnet50.my_run
        pretrained = None
    if pretrained is None or not pretrained.has_weights:
        raise LtDetError(f"MODEL.WEIGHTS {PREFIX}{name}: timm has no pretrained weights of this model; choose another.")
    if not pretrained.hf_hub_id:
        return str(pretrained.url)
    file = _hub_files(pretrained)[0]
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"  # a mirror
    return f"{hub}/{pretrained.hf_hub_id}/resolve/main/{file}"


def downloaded_by_timm(name: str) -> Path | None:
    """The file of an earlier download by timm itself: in Hugging Face's cache, or for other addresses in torch.hub's.

    Raises:
        LtDetError: timm is not installed, has no such model, or no weights of it.
    """
    address = download_address(name)
    pretrained = import_timm().get_pretrained_cfg(name)
    if not pretrained.hf_hub_id:
        file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(address).path).name)
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(pretrained.hf_hub_id, name) for name in _hub_files(pretrained))
    return next((Path(file) for file in found if isinstance(file, str)), None)


def _hub_files(pretrained: Any) -> tuple[str, ...]:
    """Names of the file with the weights on the Hub, in the order in which timm asks for them."""
    if pretrained.hf_hub_filename:
        return (str(pretrained.hf_hub_filename),)
    return ("model.safetensors", "pytorch_model.bin")


def cache_file(name: str) -> Path:
    """Where the weights of ``timm://NAME`` are kept; FVCORE_CACHE moves the folder."""
    return Path(get_cache_dir(), "timm", f"{name}.pth")


def save(checkpoint: dict[str, Any], file: Path) -> None:
    """Write a checkpoint; `file` is either complete or unchanged.

    Raises:
        LtDetError: it cannot be written.
    """
    content = io.BytesIO()
    torch.save(checkpoint, content)
    with writing_to(file.parent, f"The checkpoint {file.name}"):
        write_atomically(file, content.getvalue())


class TimmHandler(PathHandler):
    """Resolves ``timm://NAME`` for Detectron2's checkpointers: the cached file, or a download."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        name = path.removeprefix(PREFIX)
        file = cache_file(name)
        if force or not file.is_file():
            save(download(name), file)
        return str(file)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return self._exists(path)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        """Whether the weights are cached, or timm knows an address of them; nothing is downloaded."""
        name = path.removeprefix(PREFIX)
        if cache_file(name).is_file():
            return True
        try:
            return bool(download_address(name))
        except LtDetError:
            return False

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        return open(self._get_local_path(path), mode, buffering)


PathManager.register_handler(TimmHandler(), allow_override=True)
