"""`lt-det evaluate`."""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from lt_det.cli.console import console, track_step, working
from lt_det.cli.options.buckets import add_bucket_options, bucket_options
from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import read_json
from lt_det.io.atomic import check_folder
from lt_det.io.console import SafeConsole
from lt_det.io.paths import expanded

if TYPE_CHECKING:
    from lt_det.evaluation.io.ground_truth_input import Annotations
    from lt_det.evaluation.result import EvaluationResult

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="compute AP by bucket from a results file of any framework",
        description="Compute AP by bucket and by class from a results file of any framework, without Detectron2.",
    )
    parser.add_argument("--gt", type=Path, required=True, metavar="JSON", help="COCO- or LVIS-format ground truth")
    parser.add_argument(
        "--results", type=Path, required=True, metavar="JSON", help="detections in COCO's results format"
    )
    parser.add_argument(
        "--train-stats",
        type=expanded,
        metavar="JSON",
        help="training json, or counts saved by a training (class_stats.json), that define the buckets; not needed for "
        "the default buckets if every category of the ground truth has LVIS's 'frequency'",
    )
    add_bucket_options(parser)
    parser.add_argument(
        "--protocol",
        choices=("lvis", "coco", "fixed", "pool"),
        help="default: lvis if the ground truth has neg_category_ids, else coco",
    )
    parser.add_argument("--iou", default="bbox", metavar="TASKS", help="bbox, segm, or bbox,segm (default bbox)")
    parser.add_argument(
        "--max-dets",
        type=int,
        metavar="N",
        help="for dense scenes: the number of detections that count per image (lvis, normally 300), per image and "
        "class (coco, 100) or per class (fixed and pool, 10000); the result cannot be compared with numbers under "
        "another limit, such as published ones",
    )
    parser.add_argument(
        "--area-from",
        default="mask",
        choices=("mask", "box"),
        help="whether the area of a detection, by which it is small, medium or large, is that of its mask (default, as "
        "in Detectron2) or of its bbox (as in lvis and pycocotools)",
    )
    parser.add_argument(
        "--resamples", type=int, default=0, metavar="B", help="bootstrap draws for 95 %% intervals, such as 1000"
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images, for the examples in the report"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for evaluation.json and the report")
    parser.add_argument("--cross-check", action="store_true", help="also run lvis or pycocotools, and compare")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.evaluation.api import evaluate, parse_tasks
    from lt_det.evaluation.io.ground_truth_input import read_ground_truth
    from lt_det.reporting import write_report
    from lt_det.reporting.summary import bucket_table

    tasks = parse_tasks(args.iou, "--iou")
    _check_options(args)
    with working("Reading"):
        annotations = read_ground_truth(args.gt, tasks)
    result = evaluate(
        annotations,
        args.results,
        args.train_stats,
        args.protocol,
        bucket_options(args),
        tasks,
        args.resamples,
        max_dets=args.max_dets,
        area_from=args.area_from,
        image_root=args.images,
        track=track_step,
    )
    for task in tasks:
        console.print(bucket_table(result.evaluation, task).to_rich())
    if args.out:
        result.save(args.out)
        page = write_report(args.out, SafeConsole(quiet=True)).with_suffix(".html")
        console.print(f"Report: {page}", soft_wrap=True, markup=False)
    return _cross_check(args, annotations, result) if args.cross_check else 0


def _check_options(args: argparse.Namespace) -> None:
    """Raise for options that cannot work, before anything is read."""
    from lt_det.evaluation.api import fields_to_read, parse_tasks
    from lt_det.evaluation.metrics.bootstrap import check_draws
    from lt_det.evaluation.protocols import check_max_dets

    check_max_dets(args.max_dets, "--max-dets")
    fields_to_read(parse_tasks(args.iou, "--iou"), args.area_from, "--area-from")
    check_draws(args.resamples, "--resamples")
    by_counts = (args.by, args.edges, args.groups)  # --bucket-map needs no counts
    if not args.train_stats and any(option is not None for option in by_counts):
        raise LtDetError("--by, --edges and --groups divide the classes by their training counts; add --train-stats.")
    if args.images and not args.images.is_dir():
        raise LtDetError(f"The image folder {args.images} does not exist; correct --images, or leave it out.")
    if args.images and not args.out:
        logger.warning("--images has no effect without --out: the examples in the report are made of them.")
    if args.out and args.out.exists() and not args.out.is_dir():
        raise LtDetError(f"--out {args.out} is a file; name a folder.")
    for file in (args.gt, args.results) if args.cross_check else ():
        if file.is_fifo():
            raise LtDetError(f"--cross-check reads its files twice, and {file} is a pipe; name a file.")
    if args.protocol == "pool" and args.resamples:
        raise LtDetError("AP-Pool has no intervals; leave out --resamples.")
    if args.protocol == "pool" and args.cross_check:
        raise LtDetError("No official package computes AP-Pool; leave out --cross-check, or check --protocol fixed.")
    if args.out:
        check_folder(args.out, "--out")


def _cross_check(args: argparse.Namespace, annotations: Annotations, result: EvaluationResult) -> int:
    """Print each metric beside the official package's, which reads the files on its own; 1 if any differs."""
    from lt_det.evaluation.io.official_input import other_readings
    from lt_det.evaluation.protocols import PROTOCOLS
    from lt_det.evaluation.reference import official_metrics
    from lt_det.reporting.tables import TextTable

    written, results = read_json(args.gt, "annotation file"), read_json(args.results, "results file")
    protocol = PROTOCOLS[result.protocol].with_max_dets(args.max_dets)
    package, num_differing = "lvis" if protocol.federated else "pycocotools", 0
    _print_notes(other_readings(written, annotations.data, package))
    for task, metrics in result.metrics.items():
        with working(f"Running {package}, {task}"):
            summary, notes = official_metrics(written, results, protocol, result.buckets, task, args.area_from)
        official = summary.metrics
        _print_notes(notes)
        rows = []
        for name, expected in official.items():
            value = metrics[name]
            difference = 0.0 if math.isnan(value) and math.isnan(expected) else value - expected
            num_differing += difference != 0
            numbers = (value, expected, difference)
            rows.append([name, *("n/a" if math.isnan(number) else repr(number) for number in numbers)])
        console.print(TextTable(f"{task}: check", ["", "lt_det", package, "difference"], rows).to_rich())
    return int(num_differing > 0)


def _print_notes(notes: list[str]) -> None:
    for note in notes:
        console.print(f"Check: {note}", soft_wrap=True, markup=False, highlight=False)
