"""`lt-det diagnose`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console, track_step
from lt_det.cli.options.detector import add_detector_arguments, log_sizes


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="show why a trained detector is bad at rare classes",
        description="Draw the charts by which the papers on long-tail losses argue, for your trained detector: "
        "gradients, margins, influence, feature deviation and confusion by class, each with a sentence on what "
        "it means.",
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="DIR",
        help="feature cache to read, or to write if it is missing (default: RUN/bakeoff/features, or "
        "RUN/diagnosis/features if the training images are sampled)",
    )
    parser.add_argument(
        "--max-training-images",
        type=int,
        metavar="N",
        help="if there are more than N training images, measure the RoIs of a weighted sample of N, in which every "
        "class has some (default: 5000, or as many as an existing feature cache has)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: RUN/diagnosis)")
    parser.add_argument("--test", metavar="NAME", help="test set to compare with (default: the first of DATASETS.TEST)")
    add_detector_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.bakeoff.diagnosis.diagnose import diagnose
    from lt_det.bakeoff.diagnosis.features import open_features
    from lt_det.io.atomic import check_folder
    from lt_det.reporting.diagnosis import write_diagnosis_page
    from lt_det.training.config_loading import config_of_detector

    cfg = config_of_detector(args.config, args.words, args.allow_unsafe_config)
    log_sizes()
    out = args.out or Path(cfg.OUTPUT_DIR) / "diagnosis"
    check_folder(out, "--out")
    cache = open_features(
        cfg, args.features, args.test, track_step("Computing features"), max_training_images=args.max_training_images
    )
    diagnosis = diagnose(cfg, cache, test=args.test, track=track_step("Measuring"))
    if diagnosis.is_sampled:
        images = f"{diagnosis.training_images} of {diagnosis.training_set_images} training images"
        console.print(f"Measured: {images} (--max-training-images)", soft_wrap=True, markup=False, highlight=False)
    page = write_diagnosis_page(diagnosis, out, console)
    console.print(f"Diagnosis: {page}", soft_wrap=True, markup=False)
    return 0
