"""`lt-det evaluate`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from rich.console import Console

from lt_det.cli.bucket_options import add_bucket_options, chosen_buckets
from lt_det.cli.console import console, progress_bar
from lt_det.errors import LtDetError
from lt_det.evaluation.protocols import Protocol
from lt_det.io.atomic import check_folder
from lt_det.io.coco_json import check_annotations, load_annotations, read_json
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("evaluate", help="AP by bucket of a COCO-style results file")
    parser.add_argument("--gt", type=Path, required=True, metavar="JSON", help="COCO- or LVIS-format ground truth")
    parser.add_argument("--results", type=Path, required=True, metavar="JSON", help="detections as COCO results")
    parser.add_argument("--train-stats", metavar="JSON", help="training json or saved counts, for the buckets")
    add_bucket_options(parser)
    parser.add_argument(
        "--protocol", choices=("lvis", "coco", "fixed", "pool"), help="default: lvis where the json has lists"
    )
    parser.add_argument("--iou", default="bbox", metavar="TASKS", help="bbox, segm, or bbox,segm (default bbox)")
    parser.add_argument(
        "--resamples", type=int, default=0, metavar="B", help="bootstrap draws for 95 %% intervals, such as 1000"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images, for the report's examples")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write DIR/inference/<gt>/evaluation.json and report")
    parser.add_argument("--cross-check", action="store_true", help="also run lvis or pycocotools, and compare")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.evaluation.evaluate import buckets_for, evaluate_files
    from lt_det.evaluation.federated import has_lists
    from lt_det.evaluation.io.coco_results import load_results
    from lt_det.evaluation.metrics.bootstrap import check_draws
    from lt_det.evaluation.protocols import COCO, LVIS, PROTOCOLS
    from lt_det.evaluation.schema import write_record
    from lt_det.reporting import write_report
    from lt_det.reporting.summary import bucket_table

    check_draws(args.resamples, "--resamples")
    tasks = args.iou.split(",")
    if not set(tasks) <= {"bbox", "segm"} or len(set(tasks)) < len(tasks):
        raise LtDetError(f"--iou is {args.iou}; write bbox, segm or bbox,segm.")
    if args.images and not args.images.is_dir():
        raise LtDetError(f"The image folder {args.images} does not exist; correct --images, or leave it out.")
    if args.out and args.out.exists() and not args.out.is_dir():
        raise LtDetError(f"--out {args.out} is a file; name a folder.")
    if args.cross_check and args.results.is_fifo():
        raise LtDetError(f"--cross-check reads the results twice, and {args.results} is a pipe; name a file.")
    if args.out:
        check_folder(args.out, "--out")
    others = any(option is not None for option in (args.by, args.edges, args.groups, args.bucket_map))
    if others and not args.train_stats:
        raise LtDetError("--by, --edges, --groups and --bucket-map divide the classes of training; add --train-stats.")
    stats = ClassStats.from_json(args.train_stats) if args.train_stats else None
    chosen = chosen_buckets(args, stats) if others and stats is not None else None
    with console.status("Reading"):
        data = load_annotations(args.gt)
        check_annotations(data, args.gt)
    results = load_results(args.results, tasks, progress_bar("Reading the results"))
    protocol = PROTOCOLS[args.protocol] if args.protocol else LVIS if has_lists(data["images"]) else COCO
    if args.resamples and protocol.pooled:
        raise LtDetError("There are no intervals for AP-Pool; leave out --resamples.")
    if args.cross_check and protocol.pooled:
        raise LtDetError("No official package computes AP-Pool; leave out --cross-check, or check --protocol fixed.")
    buckets = buckets_for(args.gt, data, stats, chosen)
    evaluation = evaluate_files(
        args.gt,
        data,
        results,
        protocol,
        tasks,
        buckets,
        stats,
        draws=args.resamples,
        results_file=args.results,
        image_root=args.images,
        track=progress_bar,
    )
    for task in tasks:
        console.print(bucket_table(evaluation, task).to_rich())
    if args.out:
        folder = args.out / "inference" / evaluation["dataset"]
        write_record(evaluation, folder)
        console.print(f"Report: {write_report(args.out, Console(quiet=True))}", soft_wrap=True, markup=False)
    return _cross_check(data, args.results, protocol, buckets, evaluation) if args.cross_check else 0


def _cross_check(
    data: dict[str, Any],
    results_file: Path,
    protocol: Protocol,
    buckets: FrequencyBuckets,
    evaluation: dict[str, Any],
) -> int:
    """Print each metric beside the official package's; 1 if any differs."""
    from lt_det.evaluation.reference import official_metrics
    from lt_det.reporting.tables import TextTable

    results = read_json(results_file, "results file")
    package, differing = "lvis" if protocol.federated else "pycocotools", 0
    for task, ours in evaluation["tasks"].items():
        with console.status(f"Running {package}, {task}"):
            official = official_metrics(data, results, protocol, buckets, task).metrics
        rows = []
        for name, theirs in official.items():
            value = ours["metrics"][name]
            mine = math.nan if value is None else value
            difference = 0.0 if math.isnan(mine) and math.isnan(theirs) else mine - theirs
            differing += difference != 0
            rows.append(
                [name, *("n/a" if math.isnan(number) else repr(number) for number in (mine, theirs, difference))]
            )
        console.print(TextTable(f"{task}: check", ["", "lt_det", package, "difference"], rows).to_rich())
    return int(differing > 0)
