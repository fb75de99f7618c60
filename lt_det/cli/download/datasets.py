"""`lt-det download lvis` and `lt-det download coco`."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from lt_det.cli.download.common import add_dry_run, show, transfers
from lt_det.datasets.download.catalog import VERSIONS, Archive


def add_parsers(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    lvis = kinds.add_parser(
        "lvis",
        help="LVIS annotations and COCO's images",
        description="LVIS annotations and the images of COCO 2017. Some validation images of LVIS v1 are in COCO's "
        "train2017, so evaluation needs that folder, too.",
    )
    _add_options(lvis)
    lvis.add_argument("--version", choices=VERSIONS, default=VERSIONS[0], help="version of LVIS (default v1)")
    lvis.set_defaults(run=_run_lvis)
    coco = kinds.add_parser(
        "coco",
        help="COCO 2017 annotations and images",
        description="COCO 2017: annotations of instances and keypoints, and images.",
    )
    _add_options(coco)
    coco.set_defaults(run=_run_coco)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the datasets (default: DETECTRON2_DATASETS)")
    parser.add_argument(
        "--test", action="store_true", help="also the test images and their list, which has no annotations"
    )
    parser.add_argument(
        "--keep-archives", action="store_true", help="leave the zip files in DIR/downloads after unpacking them"
    )
    add_dry_run(parser)


def _run_lvis(args: argparse.Namespace) -> int:
    from lt_det.datasets.download.catalog import lvis_archives

    note = "LVIS v1: some validation images are in COCO's train2017, so evaluation needs it, too."
    return _run(args, lvis_archives(args.version, args.test), note if args.version == "v1" else "")


def _run_coco(args: argparse.Namespace) -> int:
    from lt_det.datasets.download.catalog import coco_archives

    return _run(args, coco_archives(args.test), "")


def _run(args: argparse.Namespace, archives: tuple[Archive, ...], note: str) -> int:
    from lt_det.datasets.download.installing import datasets_root, install
    from lt_det.datasets.download.listing import commands, listing

    root = datasets_root(args.out)
    show(note)
    if args.dry_run:
        show(listing(archives, root))
        show(commands(archives, root))
        return 0
    with transfers() as progress:
        install(archives, root, progress, args.keep_archives)
    show("Complete.")
    named = os.environ.get("DETECTRON2_DATASETS", "")
    if not named or Path(named).expanduser().absolute() != root.absolute():
        show(f"Before you train: export DETECTRON2_DATASETS={shlex.quote(str(root.absolute()))}")
    return 0
