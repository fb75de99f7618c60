"""`lt-det stats`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lt_det.cli.console import console
from lt_det.cli.options.buckets import add_bucket_options, bucket_options
from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import image_records
from lt_det.io.atomic import atomic_file
from lt_det.io.image_decoding import undecodable_images
from lt_det.statistics.bucket_advice import one_bucket_advice
from lt_det.statistics.buckets import resolve_buckets
from lt_det.statistics.checked_counts import count_checked
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of, printable


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "stats",
        help="check an annotation json, and show its class counts and buckets",
        description="Check a COCO- or LVIS-format annotation json, and show its class counts and buckets. Of any other "
        "annotation file, folder or zip, say what its format is and how to convert it.",
    )
    parser.add_argument("json", type=Path, help="annotation file, or counts saved by a training (class_stats.json)")
    add_bucket_options(parser)
    parser.add_argument("--images", type=Path, metavar="DIR", help="also check that every image is in this folder")
    parser.add_argument(
        "--decode",
        action="store_true",
        help="with --images: also decode every image; the exit code is 1 if one cannot be read",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="PNG", help="file for a chart of the counts, with the buckets shaded"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.reporting.tables import class_count_tables

    if args.decode and not args.images:
        raise LtDetError("--decode needs the folder of the images; add --images DIR.")
    stats = ClassStats.read_saved(args.json)
    if stats is not None and args.images:
        raise LtDetError(f"{args.json} holds counts but no images; give --images with the annotation file.")
    counter = None
    if stats is None:
        counter = count_checked(args.json, args.images, warn=True)
        stats = ClassStats.from_counter(counter, str(args.json))
        if args.decode:
            _decode(args.json, args.images, list(image_records(args.json)))
    buckets = resolve_buckets(bucket_options(args), stats)
    total = "" if stats.instance_counts is None else f", {count_of(int(stats.instance_counts.sum()), 'instance')}"
    counted = f"{count_of(stats.num_classes, 'class')}, {count_of(stats.num_images, 'annotated image')}"
    title = f"{stats.source}: {counted}{total}"
    console.print(title, soft_wrap=True, markup=False)
    for table in class_count_tables(stats, buckets, counter.images_with if counter else None):
        console.print(table.to_rich())
    if advice := one_bucket_advice(buckets, stats):
        console.print(advice, soft_wrap=True, markup=False, highlight=False)
    empty = [name for name, count in zip(stats.names, stats.image_counts, strict=True) if count == 0]
    if empty:
        more = f" and {len(empty) - 10} more" if len(empty) > 10 else ""
        console.print(
            f"{count_of(len(empty), 'class')} without annotation: {', '.join(map(printable, empty[:10]))}{more}",
            soft_wrap=True,
            markup=False,
        )
    if args.plot:
        from lt_det.reporting.charts.class_counts import plot_class_counts

        try:
            with atomic_file(args.plot) as file:
                plot_class_counts(stats, buckets, file, title=args.json.name)
        except (OSError, ValueError) as error:
            raise LtDetError(f"The chart {args.plot} cannot be written: {error}.") from error
        console.print(f"Chart: {args.plot}", soft_wrap=True, markup=False)
    return 0


def _decode(json_file: Path, image_root: Path, images: Sequence[dict[str, Any]]) -> None:
    """Decode every image, and print those that cannot be read.

    Raises:
        LtDetError: at least one cannot be read.
    """
    bad = undecodable_images(json_file, image_root, images)
    for line in bad:
        console.print(line, soft_wrap=True, markup=False)
    if bad:
        raise LtDetError(
            f"{json_file}: {len(bad)} of {len(images)} images cannot be read, the first is {bad[0]}; download them "
            "again, or remove them from the annotation file."
        )
