"""`lt-det split`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lt_det.cli.console import console
from lt_det.errors import LtDetError
from lt_det.statistics.buckets import resolve_buckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of, printable

if TYPE_CHECKING:
    from lt_det.datasets.split_files import Part
    from lt_det.reporting.tables import TextTable

_SHOWN = 10  # names of classes that a part lacks


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "split",
        help="split an annotation json into training, validation and test images",
        description="Split the images of a COCO- or LVIS-format json into train.json, val.json and, with --test, "
        "test.json. A class is in every part if it has enough images; a class with one image goes to train. The image "
        "files stay where they are.",
    )
    parser.add_argument("json", type=Path, help="annotation file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the parts")
    parser.add_argument("--val", type=float, default=0.2, metavar="F", help="fraction for validation (default 0.2)")
    parser.add_argument("--test", type=float, default=0.0, metavar="F", help="fraction for testing (default 0: none)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default 0)")
    groups = parser.add_mutually_exclusive_group()
    why = (
        "stay in one part. If frames of one video, or near duplicates, are in several parts, the detector is evaluated "
        "on what it was trained on, and every number is too good"
    )
    groups.add_argument(
        "--group-by", metavar="KEY", help=f"images with the same value of this key, such as video_id, {why}"
    )
    groups.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help="images whose file_name matches this regular expression, such as '^(.*)_frame', with the same text (in "
        "its first group, if it has one) stay in one part",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the files that this split writes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.datasets.split_files import write_split

    for option, value in (("--val", args.val), ("--test", args.test)):
        if not 0 <= value < 1:
            raise LtDetError(f"{option} is {value:g}; write a fraction of the images from 0 to 1, such as 0.2.")
    if args.val + args.test >= 1 or not args.val + args.test:
        raise LtDetError(
            f"--val and --test sum to {args.val + args.test:g}; write fractions with a sum between 0 and 1."
        )
    fractions = {"train": 1 - args.val - args.test, "val": args.val, "test": args.test}
    parts = write_split(
        args.json,
        args.out,
        {name: fraction for name, fraction in fractions.items() if fraction},
        args.seed,
        args.group_by,
        args.group_pattern,
        args.force,
    )
    for table in split_tables(parts):
        console.print(table.to_rich())
    for line in missing_classes(parts):
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"Written: {', '.join(str(part.file) for part in parts)}", soft_wrap=True, markup=False)
    return 0


def split_tables(parts: Sequence[Part]) -> list[TextTable]:
    """A table of the parts, and one of the classes of each bucket."""
    from lt_det.reporting.tables import TextTable

    whole = ClassStats.merge([part.stats for part in parts])
    num_images = sum(part.num_images for part in parts)
    rows = []
    for part in parts:
        instances = part.stats.counts("instances").sum()
        present = (part.stats.image_counts > 0).sum()
        fraction = f"{100 * part.num_images / num_images:.1f} %"
        rows.append([part.name, str(part.num_images), fraction, str(instances), f"{present} of {whole.num_classes}"])
    of_parts = TextTable("Parts", ["part", "images", "of all", "instances", "classes"], rows)

    buckets = resolve_buckets(None, parts[0].stats)
    rows = []
    for bucket, name in enumerate(buckets.names):
        members = buckets.members(bucket)
        present = [(part.stats.image_counts[members] > 0).sum() for part in parts]
        instances = [part.stats.counts("instances")[members].sum() for part in parts]
        if len(members):
            rows.append([name, *(f"{k} / {n}" for k, n in zip(present, instances, strict=True))])
    title = "Classes / instances, by bucket of training images"
    return [of_parts, TextTable(title, ["bucket", *(part.name for part in parts)], rows)]


def missing_classes(parts: Sequence[Part]) -> list[str]:
    """A sentence for each part that lacks classes: their number of images in all, and what to do."""
    whole = ClassStats.merge([part.stats for part in parts])
    lines = []
    for part in parts:
        missing = np.flatnonzero((part.stats.image_counts == 0) & (whole.image_counts > 0))
        missing = missing[np.argsort(-whole.image_counts[missing], kind="stable")]
        if len(missing):
            counts = [int(whole.image_counts[k]) for k in missing[:_SHOWN]]
            names = [printable(whole.names[k]) for k in missing[:_SHOWN]]
            shown = [f"{name} ({count_of(count, 'image')})" for name, count in zip(names, counts, strict=True)]
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            noun = f"{count_of(len(missing), 'class')} {'is' if len(missing) == 1 else 'are'}"
            needed = f"annotate more images of {'it' if len(missing) == 1 else 'them'}: each part needs one"
            advice = needed if (whole.image_counts[missing] < len(parts)).all() else f"try another --seed, or {needed}"
            lines.append(f"{noun} not in {part.name}: {', '.join(shown)}{more}; {advice}")
    return lines
