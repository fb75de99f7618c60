"""`lt-det init`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console
from lt_det.terminal import printable


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "init",
        help="look at a data set, and write a config that trains a detector on it",
        description="Look at a data set (classes and their counts, sizes of images and objects, masks, keypoints), and "
        "write a yaml config that trains a detector on it. A comment above each value says why it was chosen.",
    )
    parser.add_argument("json", type=Path, metavar="TRAIN_JSON", help="COCO- or LVIS-format annotation file")
    parser.add_argument("--out", type=Path, required=True, metavar="YAML", help="config to write")
    parser.add_argument(
        "--val",
        type=Path,
        metavar="JSON",
        help="validation set; without it, a fifth of the images is set aside, and both parts are written beside --out",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images; without it, they are looked for")
    parser.add_argument("--val-images", type=Path, metavar="DIR", help="those of --val, if they are in another folder")
    detectors = parser.add_mutually_exclusive_group()
    detectors.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="start from this Detectron2 detector (.pkl or .pth); without it, from Detectron2's for COCO if it can be "
        "downloaded, else from a small one with ImageNet weights",
    )
    detectors.add_argument("--small", action="store_true", help="choose the small detector, which a CPU can train")
    groups = parser.add_mutually_exclusive_group()
    groups.add_argument("--group-by", metavar="KEY", help="see lt-det split: images that stay in one part")
    groups.add_argument("--group-pattern", metavar="REGEX", help="see lt-det split")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.starting_config import write_config

    written = write_config(
        args.json,
        args.out,
        val_json=args.val,
        images=args.images,
        val_images=args.val_images,
        weights=args.weights,
        small=args.small,
        group_key=args.group_by,
        group_pattern=args.group_pattern,
        force=args.force,
    )
    for title, lines in (
        ("", written.summary),
        ("Look at this:", written.doubts),
        ("Written:", [str(path) for path in (written.file, *written.parts)]),
        ("Next:", written.commands),
    ):
        if title and lines:
            console.print(f"\n{title}", soft_wrap=True, markup=False)
        for line in lines:
            console.print(f"{'  ' if title else ''}{printable(line)}", soft_wrap=True, markup=False)
    return 0
