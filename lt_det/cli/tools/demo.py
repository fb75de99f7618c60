"""`lt-det demo`, tools/demo.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lt_det.errors import LtDetError
from lt_det.inference.demo import Demo
from lt_det.inference.detector import (
    SCORE_KEYS,
    WEIGHTS_HELP,
    TrainedDetector,
    classes_of,
    load_trained_config,
    threshold_of,
)
from lt_det.inference.media import find_files, with_results
from lt_det.inference.numbers_file import NumbersFile
from lt_det.io.atomic import check_folder
from lt_det.io.options import OneValueParser
from lt_det.io.paths import expanded
from lt_det.io.plain_values.yaml_files import UNSAFE_HELP, UNSAFE_OPTION
from lt_det.reporting.visualizer import DetectionVisualizer
from lt_det.training.launch.single_process import run_single_process

THRESHOLD = 0.3


def run(words: Sequence[str] | None = None, program: str | None = None) -> int:
    return run_single_process(main, parser(program).parse_args(words))


def main(args: argparse.Namespace) -> None:
    media = with_results(find_files(args.input), args.output)
    is_given = args.threshold is not None or not {*SCORE_KEYS}.isdisjoint(args.opts[::2])
    threshold = args.threshold if is_given else THRESHOLD
    cfg = load_trained_config(args.config, args.weights, args.opts, threshold, args.allow_unsafe_config)
    print(f"Weights: {cfg.MODEL.WEIGHTS}")
    check_folder(Path(args.output), "--output")
    visualizer = DetectionVisualizer(*classes_of(cfg))
    about = {"weights": cfg.MODEL.WEIGHTS, "threshold": threshold_of(cfg), "classes": visualizer.names}
    numbers = NumbersFile(Path(args.output), about, media)
    demo = Demo(TrainedDetector(cfg), visualizer)
    try:
        demo.run(media)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted; the results so far are in {args.output}.") from None
    finally:
        numbers.write(demo.images)
    count = sum(len(image["detections"]) for image in demo.images)
    if demo.images:
        shown = f"drawn in {args.output}, numbers in {numbers.file}"
        print(f"Detections: {count}, images and frames: {len(demo.images)}; {shown}")
    if demo.unreadable:
        raise LtDetError(
            f"{len(demo.unreadable)} of {len(media)} inputs cannot be read in full: {'; '.join(demo.unreadable)}; "
            "download or repair them."
        )


def parser(program: str | None = None) -> argparse.ArgumentParser:
    parser = OneValueParser(
        program,
        description="Draw the detections of a trained detector on images and videos, with the bucket of each class.",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the yaml config of the training")
    parser.add_argument("--weights", type=expanded, metavar="FILE", help=WEIGHTS_HELP)
    parser.add_argument(
        "--input",
        type=expanded,
        required=True,
        nargs="+",
        action="extend",
        metavar="PATH",
        help="images, videos, or folders of them",
    )
    parser.add_argument(
        "--output",
        type=expanded,
        required=True,
        metavar="FOLDER",
        help="folder for the results, which are named like the inputs",
    )
    parser.add_argument("--threshold", type=float, metavar="SCORE", help=f"minimum score (default {THRESHOLD})")
    parser.add_argument(UNSAFE_OPTION, action="store_true", help=UNSAFE_HELP)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE config overrides, after all options")
    return parser
