"""`lt-det download weights`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.download.common import add_dry_run, show, transfers
from lt_det.io.plain_values.yaml_files import UNSAFE_HELP, UNSAFE_OPTION


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "weights",
        help="the pretrained weights that configs start from",
        description="Download the weights that MODEL.WEIGHTS of each config names (LazyConfig: train.init_checkpoint) "
        "to Detectron2's cache: the folder that FVCORE_CACHE names, by default ~/.torch/iopath_cache.",
    )
    parser.add_argument(
        "--config",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="yaml configs or LazyConfigs: files, or names of shipped ones",
    )
    add_dry_run(parser)
    parser.add_argument(UNSAFE_OPTION, action="store_true", help=UNSAFE_HELP)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from iopath.common.file_io import get_cache_dir

    from lt_det.training.weights.downloading import commands, download_weights, is_cached, weights_of_configs

    found = weights_of_configs(args.config, args.allow_unsafe_config)
    for config, weights, remote in found:
        if remote is None:
            show(f"{config}: {weights}, {_kind(weights)}; nothing to download" if weights else f"{config}: no weights")
        elif is_cached(weights, remote):
            show(f"{config}: {weights}, already at {remote.file}")
        else:
            show(f"{config}: {weights}\n  {remote.url}\n  -> {remote.file}")
    if args.dry_run:
        show(commands(found, Path(get_cache_dir())))
        return 0
    with transfers() as progress:
        for _, weights, remote in found:
            if remote:
                download_weights(weights, remote, progress)
    return 0


def _kind(weights: str) -> str:
    """What weights are that are not downloaded."""
    if "://" in weights:
        return "an address that is neither HTTP nor FTP"
    return "a file" if Path(weights.partition("?")[0]).is_file() else "a file that does not exist"
