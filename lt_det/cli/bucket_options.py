"""The options by which a command line chooses frequency buckets."""

from __future__ import annotations

import argparse

from lt_det.statistics.buckets import LVIS_EDGES, FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats


def add_bucket_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--by", choices=("images", "instances"), help="what the buckets count (default: images)")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--edges", type=int, nargs="+", metavar="N", help="inclusive upper edges (default: 10 100)")
    which.add_argument("--groups", type=int, metavar="G", help="instead of edges: G groups of equally many classes")
    which.add_argument("--bucket-map", metavar="JSON", help="instead of edges: {class name: bucket name}")


def chosen_buckets(args: argparse.Namespace, stats: ClassStats) -> FrequencyBuckets:
    return FrequencyBuckets.chosen(
        stats,
        by=args.by or "images",
        edges=args.edges or LVIS_EDGES,
        groups=args.groups,
        map_file=args.bucket_map,
    )
