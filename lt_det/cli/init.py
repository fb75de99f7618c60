"""`lt-det init`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console
from lt_det.terminal import printable


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "init",
        help="write a config for training a detector on your dataset",
        description="Write a yaml config that fits your dataset: its classes and their counts, the sizes of its images "
        "and objects, masks and keypoints. Comments in the config explain its values.",
    )
    parser.add_argument("json", type=Path, metavar="TRAIN_JSON", help="COCO- or LVIS-format annotation file")
    parser.add_argument("--out", type=Path, required=True, metavar="YAML", help="the config file to write")
    parser.add_argument(
        "--val",
        type=Path,
        metavar="JSON",
        help="validation set; without it, a fifth of the images is set aside, and both parts are written next to --out",
    )
    parser.add_argument(
        "--test",
        type=Path,
        metavar="JSON",
        help="test set for the final result, registered as NAME_test; --out names NAME",
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images; without it, lt-det searches near the json"
    )
    parser.add_argument("--val-images", type=Path, metavar="DIR", help="folder of the images of --val, if it differs")
    parser.add_argument("--test-images", type=Path, metavar="DIR", help="folder of the images of --test, if it differs")
    detectors = parser.add_mutually_exclusive_group()
    detectors.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="start from this Detectron2 detector (.pkl or .pth); without it, from Detectron2's COCO detector if it "
        "can be downloaded, otherwise from a small detector with ImageNet weights",
    )
    detectors.add_argument("--small", action="store_true", help="use the small detector, which can be trained on a CPU")
    groups = parser.add_mutually_exclusive_group()
    groups.add_argument("--group-by", metavar="KEY", help="without --val: keep images together, see lt-det split")
    groups.add_argument("--group-pattern", metavar="REGEX", help="the same by file name, see lt-det split")
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.starting_config import write_config

    written = write_config(
        args.json,
        args.out,
        val_json=args.val,
        test_json=args.test,
        images=args.images,
        val_images=args.val_images,
        test_images=args.test_images,
        weights=args.weights,
        small=args.small,
        group_key=args.group_by,
        group_pattern=args.group_pattern,
        force=args.force,
    )
    for title, lines in (
        ("", written.summary),
        ("Please check:", written.doubts),
        ("Written:", [str(path) for path in (written.file, *written.parts)]),
        ("Next:", written.commands),
    ):
        if title and lines:
            console.print(f"\n{title}", soft_wrap=True, markup=False)
        for line in lines:
            console.print(f"{'  ' if title else ''}{printable(line)}", soft_wrap=True, markup=False)
    return 0
