"""The weights that configs start from: where they are, and downloading them to Detectron2's cache."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from detectron2.utils.file_io import PathManager

from lt_det.datasets.download.transfer import Reporter, download, set_aside
from lt_det.errors import LtDetError
from lt_det.io.lock import file_lock
from lt_det.modeling.backbones import timm_weights
from lt_det.training.config_files.shipped import config_path
from lt_det.training.config_loading import load_config, load_lazy_config
from lt_det.training.weights.address import RemoteWeights, remote_weights
from lt_det.training.weights.reading import UnusableFileError, open_checkpoint


class WeightsOfConfig(NamedTuple):
    """What a config starts from.

    Attributes:
        config: file.
        weights: MODEL.WEIGHTS, in a LazyConfig train.init_checkpoint; may be empty.
        remote: address and cache file; None for weights that are at no address.
    """

    config: str
    weights: str
    remote: RemoteWeights | None


def weights_of_configs(configs: Sequence[str], allow_unsafe_config: bool = False) -> list[WeightsOfConfig]:
    """What each config starts from.

    Args:
        configs: files, .yaml or .py, or names of shipped configs.
        allow_unsafe_config: whether a yaml config may execute code.

    Raises:
        LtDetError: a config cannot be read, or Detectron2 or timm has no such weights.
    """
    found = []
    for config in configs:
        if config_path(config).endswith(".py"):
            weights = load_lazy_config(config).train.get("init_checkpoint", "")
        else:
            weights = load_config(config, [], allow_unsafe_config).MODEL.WEIGHTS
        found.append(WeightsOfConfig(config, weights or "", remote_weights(weights) if weights else None))
    return found


def download_weights(weights: str, remote: RemoteWeights, report: Reporter) -> bool:
    """Put weights where Detectron2 looks for them before it downloads; False if they are there.

    Args:
        weights: MODEL.WEIGHTS. timm downloads its own weights, because the cached file differs from that of timm, and
            Detectron2 those at an FTP address.
        remote: address and cache file.
        report: shows progress.

    Raises:
        LtDetError: they cannot be downloaded, or what was received is no checkpoint; it is set aside.
    """
    if remote.file.is_file():
        return False
    report.say(f"{weights} -> {remote.file}")
    if weights.startswith(timm_weights.PREFIX) or remote.url.startswith("ftp:"):
        try:
            PathManager.get_local_path(weights.partition("?")[0])
            _check(remote)
        except OSError as error:
            raise LtDetError(
                f"{remote.url} cannot be downloaded to {remote.file} ({error}); check the address and the network."
            ) from error
        return True
    with _lock_of_detectron2(remote.file, report):
        if remote.file.is_file():  # another process has downloaded it
            return False
        download(remote.url, remote.file, report)
        _check(remote)
    return True


def _check(remote: RemoteWeights) -> None:
    """Look into the file, because nobody publishes checksums of weights, and a server need not say their size."""
    try:
        open_checkpoint(remote.file)
    except UnusableFileError as error:
        aside = set_aside(remote.file, remote.file.name)
        raise LtDetError(
            f"The weights from {remote.url} cannot be loaded: {error.why}; what was received is set aside as {aside}."
        ) from error
    except LtDetError:  # it holds more than weights, which is not for a download to refuse
        pass


@contextmanager
def _lock_of_detectron2(file: Path, report: Reporter) -> Iterator[None]:
    """Hold the lock that Detectron2 takes to download a file to its cache, unless the file system has no locks."""
    with ExitStack() as stack:
        with suppress(OSError):  # of a folder that cannot be written, which the download reports
            file.parent.mkdir(parents=True, exist_ok=True)
            wait = f"{file.name}: another process is downloading it; waiting"
            stack.enter_context(file_lock(file.with_name(f"{file.name}.lock"), lambda: report.say(wait)))
        yield


def is_cached(weights: str, remote: RemoteWeights) -> bool:
    """Whether weights can be loaded without network: Detectron2 has them in its cache, or timm in its own."""
    if remote.file.is_file():
        return True
    is_timm = weights.startswith(timm_weights.PREFIX)
    return is_timm and timm_weights.downloaded_by_timm(weights.removeprefix(timm_weights.PREFIX)) is not None


def commands(found: Sequence[WeightsOfConfig], cache: Path) -> str:
    """Shell commands that download the missing weights on another machine, to the folders of the cache.

    Args:
        found: result of `weights_of_configs`.
        cache: the folder that FVCORE_CACHE names.
    """
    missing = {each.weights: each.remote for each in found if each.remote and not is_cached(each.weights, each.remote)}
    lines = []
    for weights, remote in missing.items():
        file = shlex.quote(str(remote.file.relative_to(cache)))
        if weights.startswith(timm_weights.PREFIX):
            model = shlex.quote(weights.removeprefix(timm_weights.PREFIX))
            lines.append(f"lt-det imagenet-weights {file} --model {model}")
        else:
            address = shlex.quote(remote.url)
            lines.append(f"curl --fail --location --continue-at - --create-dirs --output {file} {address}")
    if not lines:
        return ""
    return "\n".join(
        ["# On a machine with internet access:", *lines, f"# Copy the files, with their folders, to {cache} here."]
    )
