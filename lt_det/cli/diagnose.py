"""`lt-det diagnose`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console, track_step
from lt_det.errors import LtDetError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="gradients, margins, influence, feature deviation and confusion by class, of a trained detector",
    )
    parser.add_argument("--config", metavar="FILE", help="yaml with MODEL.WEIGHTS, instead of RUN")
    parser.add_argument(
        "--features", type=Path, metavar="DIR", help="feature cache to use or to compute; default: RUN/bakeoff/features"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/diagnosis")
    parser.add_argument("--test", metavar="NAME", help="test set to compare with; default: the first of DATASETS.TEST")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RUN [KEY VALUE]",
        help="OUTPUT_DIR of a training, unless --config is given, and overrides of its config",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not args.config and not args.words:
        raise LtDetError("No detector is given; write lt-det diagnose RUN, the OUTPUT_DIR of a training, or --config.")
    from lt_det.bakeoff.diagnosis.diagnose import config_of_run, diagnose, open_features
    from lt_det.io.atomic import check_folder
    from lt_det.reporting.diagnosis import write_diagnosis_page
    from lt_det.training import load_config

    cfg = load_config(args.config, args.words) if args.config else config_of_run(args.words[0], args.words[1:])
    out = args.out or Path(cfg.OUTPUT_DIR) / "diagnosis"
    check_folder(out, "--out")
    features = args.features or Path(cfg.OUTPUT_DIR) / "bakeoff" / "features"
    cache = open_features(cfg, features, track_step("Computing features"))
    diagnosis = diagnose(cfg, cache, test=args.test, track=track_step("Measuring"))
    page = write_diagnosis_page(diagnosis, out, console)
    console.print(f"Diagnosis: {page}", soft_wrap=True, markup=False)
    return 0
