"""The `lt-det` command."""

from __future__ import annotations

import argparse
import logging
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from lt_det.annotations import check_annotations, load_annotations, read_json
from lt_det.class_stats import LVIS_EDGES, ClassStats, FrequencyBuckets
from lt_det.errors import LtDetError, exit_code_of
from lt_det.files import check_folder, whole_file

if TYPE_CHECKING:
    from lt_det.evaluation.progress import Track
    from lt_det.evaluation.protocols import Protocol

console = Console()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; a user's mistake is one sentence on standard error and exit code 1."""
    args = _parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.captureWarnings(True)
    # Detectron2's use of both: nothing a user could do about.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated|.*torch.jit.script")
    return exit_code_of(lambda: int(args.run(args)), args.traceback)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lt-det", description="Long-tailed object detection for Detectron2.")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="check versions, devices, data sets, and a config against its data")
    doctor.add_argument("--config", metavar="FILE", help="a yaml config to check as its training would")
    doctor.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    doctor.set_defaults(run=_doctor)

    stats = commands.add_parser("stats", help="class counts and buckets of a COCO- or LVIS-format training json")
    stats.add_argument("json", type=Path, help="annotation file, or counts saved by a training (class_stats.json)")
    _add_bucket_options(stats)
    stats.add_argument("--images", type=Path, metavar="DIR", help="also check that every image is in this folder")
    stats.add_argument("--plot", type=Path, metavar="PNG", help="draw the distribution with the buckets shaded")
    stats.set_defaults(run=_stats)

    mini = commands.add_parser("mini-lvis", help="draw the small long-tailed data set of the demo")
    mini.add_argument("out", type=Path, help="folder to write; training looks in DETECTRON2_DATASETS/mini_lvis")
    mini.add_argument("--num-train", type=int, default=4000, metavar="N", help="training images (default 4000)")
    mini.add_argument("--num-val", type=int, default=400, metavar="N", help="validation images (default 400)")
    mini.add_argument("--num-classes", type=int, default=62, metavar="K", help="classes, 3 to 62 (default 62)")
    mini.add_argument("--seed", type=int, default=0, help="another seed draws another set (default 0)")
    mini.set_defaults(run=_mini_lvis)

    report = commands.add_parser("report", help="tables and figures of a training's output folder")
    report.add_argument("output_dir", type=Path, help="OUTPUT_DIR of a training, or --out of lt-det evaluate")
    report.set_defaults(run=_report)

    compare = commands.add_parser("compare", help="differences between runs, with paired intervals")
    compare.add_argument("output_dirs", type=Path, nargs="+", metavar="RUN", help="OUTPUT_DIRs, all against the first")
    compare.add_argument("--out", type=Path, default=Path("compare"), metavar="DIR", help="default: ./compare")
    compare.set_defaults(run=_compare)

    evaluate = commands.add_parser("evaluate", help="AP by bucket of a COCO-style results file")
    evaluate.add_argument("--gt", type=Path, required=True, metavar="JSON", help="COCO- or LVIS-format ground truth")
    evaluate.add_argument("--results", type=Path, required=True, metavar="JSON", help="detections as COCO results")
    evaluate.add_argument("--train-stats", metavar="JSON", help="training json or saved counts, for the buckets")
    _add_bucket_options(evaluate)
    evaluate.add_argument(
        "--protocol", choices=("lvis", "coco", "fixed", "pool"), help="default: lvis where the json has lists"
    )
    evaluate.add_argument("--iou", default="bbox", metavar="TASKS", help="bbox, segm, or bbox,segm (default bbox)")
    evaluate.add_argument(
        "--resamples", type=int, default=0, metavar="B", help="bootstrap draws for 95 %% intervals, such as 1000"
    )
    evaluate.add_argument("--images", type=Path, metavar="DIR", help="the images, for the report's examples")
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="write DIR/inference/<gt>/evaluation.json and report")
    evaluate.add_argument("--cross-check", action="store_true", help="also run lvis or pycocotools, and compare")
    evaluate.set_defaults(run=_evaluate)

    calibrate = commands.add_parser("calibrate", help="calibrate a trained classifier, without training")
    calibrate.add_argument("--config", required=True, metavar="FILE", help="yaml, with MODEL.LONG_TAIL.CALIBRATION")
    calibrate.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    calibrate.set_defaults(run=_calibrate)
    return parser


def _add_bucket_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--by", choices=("images", "instances"), help="what the buckets count (default: images)")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--edges", type=int, nargs="+", metavar="N", help="inclusive upper edges (default: 10 100)")
    which.add_argument("--groups", type=int, metavar="G", help="instead of edges: G groups of equally many classes")
    which.add_argument("--bucket-map", metavar="JSON", help="instead of edges: {class name: bucket name}")


def _chosen_buckets(args: argparse.Namespace, stats: ClassStats) -> FrequencyBuckets:
    return FrequencyBuckets.chosen(
        stats,
        by=args.by or "images",
        edges=args.edges or LVIS_EDGES,
        groups=args.groups,
        map_file=args.bucket_map,
    )


def _doctor(args: argparse.Namespace) -> int:
    from lt_det.doctor import examine

    if args.opts and not args.config:
        raise LtDetError(f"Overrides ({args.opts[0]}) are those of a config; add --config FILE before them.")
    fatal = False
    for finding in examine(args.config, args.opts):
        fatal = fatal or finding.fatal
        mark, colour = ("✗", "red") if finding.fatal else ("!", "yellow") if finding.advice else ("✓", "green")
        console.print(f"[{colour}]{mark}[/] {escape(f'{finding.subject:13}')} {escape(finding.found)}", soft_wrap=True)
        if finding.advice:
            console.print(f"  {'':14}-> {escape(finding.advice)}", soft_wrap=True)
    return int(fatal)


def _stats(args: argparse.Namespace) -> int:
    from lt_det.reporting.tables import class_count_tables

    stats = ClassStats.read_saved(args.json)
    if stats is not None and args.images:
        raise LtDetError(f"{args.json} holds counts, which name no images; give --images with the annotation file.")
    if stats is None:
        data = load_annotations(args.json)
        check_annotations(data, args.json, args.images)
        stats = ClassStats.from_annotations(data, str(args.json))
    buckets = _chosen_buckets(args, stats)
    total = "" if stats.instance_counts is None else f", {stats.instance_counts.sum()} instances"
    title = f"{stats.source}: {stats.num_classes} classes, {stats.num_images} annotated images{total}"
    console.print(title, soft_wrap=True, markup=False)
    for table in class_count_tables(stats, buckets):
        console.print(table.to_rich())
    empty = [name for name, count in zip(stats.names, stats.image_counts, strict=True) if count == 0]
    if empty:
        more = f" and {len(empty) - 10} more" if len(empty) > 10 else ""
        console.print(
            f"{len(empty)} classes without annotation: {', '.join(empty[:10])}{more}",
            soft_wrap=True,
            markup=False,
        )
    if args.plot:
        from lt_det.reporting.plots import plot_class_counts

        try:
            with whole_file(args.plot) as picture:
                plot_class_counts(stats, buckets, picture, title=args.json.name)
        except (OSError, ValueError) as error:
            raise LtDetError(f"The picture {args.plot} cannot be written: {error}.") from error
        console.print(f"Picture: {args.plot}", soft_wrap=True, markup=False)
    return 0


def _mini_lvis(args: argparse.Namespace) -> int:
    from lt_det.data.mini_lvis import write_mini_lvis

    written = write_mini_lvis(
        args.out,
        num_train=args.num_train,
        num_val=args.num_val,
        num_classes=args.num_classes,
        seed=args.seed,
    )
    console.print(
        f"mini_lvis: {written.train_json}, {written.val_json}; a look at it: {written.contact_sheet}",
        soft_wrap=True,
        markup=False,
    )
    return 0


def _report(args: argparse.Namespace) -> int:
    from lt_det.reporting import write_report

    report = write_report(args.output_dir, console)
    console.print(f"Report: {report}\nPage: {report.with_suffix('.html')}", soft_wrap=True, markup=False)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from lt_det.reporting import write_comparison

    page = write_comparison(args.output_dirs, args.out, console)
    console.print(f"Comparison: {page}", soft_wrap=True, markup=False)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from lt_det.evaluation.bootstrap import check_draws
    from lt_det.evaluation.lists import has_lists
    from lt_det.evaluation.offline import buckets_for, evaluate_files
    from lt_det.evaluation.protocols import COCO, LVIS, PROTOCOLS
    from lt_det.evaluation.record import write_record
    from lt_det.evaluation.results import load_results
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
    chosen = _chosen_buckets(args, stats) if others and stats is not None else None
    with console.status("Reading"):
        data = load_annotations(args.gt)
        check_annotations(data, args.gt)
    results = load_results(args.results, tasks, _progress_bar("Reading the results"))
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
        track=_progress_bar,
    )
    for task in tasks:
        console.print(bucket_table(evaluation, task).to_rich())
    if args.out:
        folder = args.out / "inference" / evaluation["dataset"]
        write_record(evaluation, folder)
        console.print(f"Report: {write_report(args.out, Console(quiet=True))}", soft_wrap=True, markup=False)
    return _cross_check(data, args.results, protocol, buckets, evaluation) if args.cross_check else 0


def _calibrate(args: argparse.Namespace) -> int:
    from lt_det.engine import load_config
    from lt_det.engine.calibrate import calibrate
    from lt_det.reporting.tables import calibration_table, percent

    cfg = load_config(args.config, args.opts)
    grid = calibrate(cfg, _progress_bar("Judging each value"))
    console.print(calibration_table(grid.method, grid.data, grid.buckets, grid.metrics).to_rich())
    chosen, untouched = (percent(grid.metrics[value]["AP"]) for value in (grid.chosen, 0.0))
    higher = "; it is the largest, try more" if grid.chosen == max(grid.metrics) else ""
    console.print(
        f"Chosen by box AP: {grid.chosen:g}, AP {chosen} (untouched {untouched}){higher}\n"
        f"Judge it: python tools/train_net.py --config {Path(cfg.OUTPUT_DIR) / 'config.yaml'} --eval-only",
        soft_wrap=True,
        markup=False,
    )
    return 0


def _progress_bar(step: str) -> Track:
    """A bar with the time that is left, gone when the step is done; on a terminal only."""
    hidden = not console.is_terminal
    return lambda items: track(list(items), description=step, console=console, transient=True, disable=hidden)


def _cross_check(
    data: dict[str, Any],
    results_file: Path,
    protocol: Protocol,
    buckets: FrequencyBuckets,
    evaluation: dict[str, Any],
) -> int:
    """Print each metric beside the official package's; 1 if any differs."""
    from lt_det.evaluation.official import official_metrics
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


if __name__ == "__main__":
    sys.exit(main())
