"""Weights at an address on the network: where Detectron2 keeps them, and whether they can be fetched."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import NamedTuple
from urllib import request
from urllib.parse import urlparse

from detectron2.checkpoint.catalog import ModelCatalog, ModelCatalogHandler
from detectron2.utils.file_io import Detectron2Handler
from iopath.common.file_io import get_cache_dir

from lt_det.errors import LtDetError
from lt_det.modeling.backbones import timm_weights

TIMEOUT = 10.0  # seconds without an answer


class RemoteWeights(NamedTuple):
    """Weights that Detectron2 or timm downloads.

    Attributes:
        url: where from.
        file: where they are kept; what is there is not downloaded.
    """

    url: str
    file: Path


def remote_weights(weights: str) -> RemoteWeights | None:
    """Where weights come from; None for a file, or an address that is not fetched by HTTP or FTP.

    Args:
        weights: MODEL.WEIGHTS, such as ``detectron2://ImageNetPretrained/MSRA/R-50.pkl``.

    Raises:
        LtDetError: Detectron2's catalog, or timm, has no such weights.
    """
    url = weights.partition("?")[0]  # Detectron2's options
    if url.startswith(timm_weights.PREFIX):
        name = url.removeprefix(timm_weights.PREFIX)
        return RemoteWeights(timm_weights.download_address(name), timm_weights.cache_file(name))
    if url.startswith(ModelCatalogHandler.PREFIX):
        try:
            url = ModelCatalog.get(url.removeprefix(ModelCatalogHandler.PREFIX))
        except (KeyError, RuntimeError) as error:
            raise LtDetError(f"MODEL.WEIGHTS {weights}: Detectron2's catalog has no such weights.") from error
    if url.startswith(Detectron2Handler.PREFIX):
        url = Detectron2Handler.S3_DETECTRON2_PREFIX + url.removeprefix(Detectron2Handler.PREFIX)
    if not url.startswith(("http://", "https://", "ftp://")):
        return None
    return RemoteWeights(url, Path(get_cache_dir(), urlparse(url).path.lstrip("/")))


def check_remote_weights(weights: str) -> str:
    """Reach the address of weights that are not cached yet, without downloading them.

    Args:
        weights: MODEL.WEIGHTS.

    Returns:
        Where they are or will be; empty if they are at no address.

    Raises:
        LtDetError: they are not cached, and the address does not answer or has no such file.
    """
    remote = remote_weights(weights)
    if remote is None:
        return ""
    if remote.file.is_file():
        return f"{weights}, cached at {remote.file}"
    by_hand = f"without internet put the file at {remote.file} (lt-det download weights --dry-run shows how)"
    if weights.startswith(timm_weights.PREFIX):
        name = weights.removeprefix(timm_weights.PREFIX)
        if file := timm_weights.downloaded_by_timm(name):
            return f"{weights}, downloaded by timm before, to {file}"
        by_hand = (
            f"without internet, write the weights with `lt-det imagenet-weights --model {name}` on another machine, "
            f"and put the file at {remote.file}"
        )
    try:
        with request.urlopen(remote.url, timeout=TIMEOUT) as answer:
            size = answer.headers.get("Content-Length")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise LtDetError(
            f"MODEL.WEIGHTS {weights} (LazyConfig: train.init_checkpoint) cannot be fetched from {remote.url} "
            f"({error}); correct it, or {by_hand}."
        ) from error
    megabytes = f" ({int(size) / 1e6:.0f} MB)" if size else ""
    return f"{weights}, will be downloaded from {remote.url}{megabytes}; {by_hand}"
