"""`lt-det bakeoff`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lt_det.cli.console import console
from lt_det.cli.options.detector import add_detector_arguments, log_sizes
from lt_det.errors import INTERRUPTED

if TYPE_CHECKING:
    from lt_det.evaluation.bakeoff_schema import Bakeoff

_DESCRIPTION = """Find out which loss helps your data, without training your detector again: its
features are computed once, the classifier is trained on them with every
candidate, and each is evaluated by bucket. The choice is made on held-out
training images, and reported on the evaluation set. If the detector has
memorized its training images, choose on the evaluation set instead."""
_EXAMPLES = """examples:
  lt-det bakeoff output/mine
  lt-det bakeoff output/mine --candidates full --seeds 5
  lt-det bakeoff output/mine --candidates mine.yaml --steps 10000
  lt-det bakeoff output/mine --write seesaw
  lt-det bakeoff output/mine --choose-on evaluation
  lt-det bakeoff --num-processes 4 --config theirs.yaml MODEL.WEIGHTS theirs.pth

Ctrl-C keeps what has finished; the same command continues from there.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bakeoff",
        help="find out which loss helps your data, on the features of your trained detector",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--candidates",
        default="quick",
        metavar="LIST",
        help="quick (about ten), full, or a yaml file of your own (default: quick)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="seeds, each a training of every candidate on all training images (default 3)",
    )
    parser.add_argument(
        "--folds", type=int, default=3, metavar="K", help="parts of the training images, each held out once (default 3)"
    )
    parser.add_argument(
        "--steps", type=int, default=3000, metavar="N", help="iterations of each training (default 3000)"
    )
    parser.add_argument("--batch-size", type=int, default=512, metavar="N", help="RoIs per iteration (default 512)")
    parser.add_argument(
        "--passes",
        type=int,
        default=1,
        metavar="N",
        help="passes over the augmented training images, to compute features (default 1)",
    )
    parser.add_argument(
        "--num-processes",
        type=int,
        default=1,
        metavar="N",
        help="processes that compute features and train candidates (default 1)",
    )
    parser.add_argument(
        "--choose-on",
        default="folds",
        metavar="IMAGES",
        help="what chooses the candidate: folds of the training images (default), or the evaluation set: evaluation",
    )
    parser.add_argument("--write", metavar="NAME", help="candidate to write as a checkpoint (default: recommended)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="output folder (default: bakeoff/ in OUTPUT_DIR)")
    parser.add_argument(
        "--dtype", default="float16", metavar="TYPE", help="type of the training features: float16 (default) or float32"
    )
    parser.add_argument(
        "--max-rois", type=int, default=5_000_000, metavar="N", help="the most RoIs to train on (default 5 million)"
    )
    parser.add_argument(
        "--max-training-images",
        type=int,
        default=5_000,
        metavar="N",
        help="choose on the proposals of at most N held-out training images; candidates are trained on RoIs of all "
        "training images in any case (default 5000)",
    )
    add_detector_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.bakeoff.options import BakeoffOptions

    options = BakeoffOptions(
        candidates=args.candidates,
        seeds=args.seeds,
        folds=args.folds,
        steps=args.steps,
        batch_size=args.batch_size,
        passes=args.passes,
        dtype=args.dtype,
        max_rois=args.max_rois,
        max_training_images=args.max_training_images,
        num_processes=args.num_processes,
        choose_on=args.choose_on,
        write=args.write,
        output=args.output,
    )
    from lt_det.bakeoff.bakeoff import run_bakeoff
    from lt_det.reporting.bakeoff.live_results import LiveResults
    from lt_det.training.config_loading import config_of_detector

    cfg = config_of_detector(args.config, args.words, args.allow_unsafe_config)
    log_sizes()
    with LiveResults(console) as live:
        result: Bakeoff = run_bakeoff(cfg, options, on_result=live.show, track=live.track)
        live.show(result)
    _print_answer(result, options.folder(cfg.OUTPUT_DIR))
    return INTERRUPTED if result.unfinished else 0


def _print_answer(result: Bakeoff, folder: Path) -> None:
    """The recommendation, what failed, what was written, and where the page is."""
    from lt_det.evaluation.bakeoff_schema import BAKEOFF_NAME
    from lt_det.reporting.bakeoff import PAGE_NAME

    recommendation = result.recommendation
    lines = [f"Recommended: {recommendation.name}"] if recommendation.name else []
    lines += [recommendation.reason, recommendation.for_ap_only_reason]
    lines += [f"Failed: {entry.name}: {entry.failed}" for entry in result.candidates if entry.failed]
    if result.written:
        lines += [
            f"Written: {result.written.name}, {result.written.checkpoint}",
            f"Evaluate it: lt-det train --config {result.written.config} --eval-only",
        ]
    lines.append(f"Numbers: {folder / BAKEOFF_NAME}\nPage: {folder / PAGE_NAME}")
    if result.unfinished:
        lines.append("Unfinished: the same command continues from here.")
    for line in filter(None, lines):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
