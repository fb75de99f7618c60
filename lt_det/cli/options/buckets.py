"""The options by which a command line chooses frequency buckets."""

from __future__ import annotations

import argparse

from lt_det.errors import LtDetError
from lt_det.io.paths import expanded
from lt_det.statistics.buckets import LVIS_EDGES, BucketOptions


def add_bucket_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--by", choices=("images", "instances"), help="what is counted for the buckets (default: images)"
    )
    division = command.add_mutually_exclusive_group()
    division.add_argument(
        "--edges",
        type=int,
        nargs="+",
        action="extend",
        metavar="N",
        help="inclusive upper edges of the buckets (default: 10 100)",
    )
    division.add_argument(
        "--groups", type=int, metavar="G", help="instead of edges: G groups with the same number of classes"
    )
    division.add_argument(
        "--bucket-map",
        type=expanded,
        metavar="JSON",
        help="instead of edges: a json file with {class name: bucket name}",
    )


def bucket_options(args: argparse.Namespace) -> BucketOptions | None:
    """What the options ask for; None if none of them is given.

    Raises:
        LtDetError: an option has no effect with the others.
    """
    if all(option is None for option in (args.by, args.edges, args.groups, args.bucket_map)):
        return None
    if args.by is not None and args.bucket_map is not None:
        raise LtDetError(
            f"--by {args.by} has no effect with --bucket-map, which names the bucket of each class; leave it out."
        )
    return BucketOptions(args.by or "images", args.edges or LVIS_EDGES, groups=args.groups, bucket_map=args.bucket_map)
