"""`lt-det export`, tools/export.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.inference.detector import WEIGHTS_HELP, TooNarrow, TrainedDetector, classes_of, load_trained_config
from lt_det.inference.export import FORMATS, Exported, description, difference, traceable, write_description
from lt_det.inference.export_detectron2 import CONFIG_NAME, WEIGHTS_NAME, export_detectron2, stock_config
from lt_det.inference.media import find_files, is_video, read_image
from lt_det.io.atomic import atomic_files, check_folder
from lt_det.io.options import OneValueParser
from lt_det.io.paths import expanded
from lt_det.io.plain_values.yaml_files import UNSAFE_HELP, UNSAFE_OPTION
from lt_det.terminal import count_of
from lt_det.training.launch.single_process import run_single_process

SAMPLES = 5  # of a folder
DETECTRON2 = "detectron2"  # a format of two files


def run(words: Sequence[str] | None = None, program: str | None = None) -> int:
    return run_single_process(main, parser(program).parse_args(words))


def main(args: argparse.Namespace) -> None:
    samples = [file for file in find_files(args.sample_image) if not is_video(file)][:SAMPLES]
    if not samples:
        raise LtDetError("--sample-image has only videos; give images.")
    cfg = load_trained_config(args.config, args.weights, args.opts, args.threshold, args.allow_unsafe_config)
    print(f"Weights: {cfg.MODEL.WEIGHTS}")
    if args.format == DETECTRON2:
        _check_own_files_are_kept(args, cfg)
    check_folder(Path(args.output), "--output")
    detector = TrainedDetector(cfg)
    images = {}
    for file in samples:
        try:
            images[str(file)] = detector.model_input(read_image(file))
        except TooNarrow as error:
            raise LtDetError(f"{file} {error}.") from error
    first = next(iter(images.values()))
    adapter = traceable(detector.model, first)
    # The trace must not have fixed the size of the first image, its number of proposals, or that it has detections.
    images["the first image in another size"] = torch.nn.functional.interpolate(first[None], scale_factor=0.75)[0]
    images["a corner of the first image"] = first[:, :32, :32]
    images["a uniform gray image"] = torch.full_like(first, 128)
    if args.format == DETECTRON2:
        stock = stock_config(cfg, detector.model, Path(args.output, WEIGHTS_NAME).resolve())
        with atomic_files(Path(args.output), (WEIGHTS_NAME, CONFIG_NAME)) as unfinished:
            check(adapter, export_detectron2(detector.model, stock, first, unfinished), images)
        print(f"Written: {Path(args.output, WEIGHTS_NAME)} and {Path(args.output, CONFIG_NAME)}")
        return
    names, buckets = classes_of(cfg)
    name, export = FORMATS[args.format]
    about = f"{name}.json"  # one for each format: the other one may describe another model
    with atomic_files(Path(args.output), (name, about)) as unfinished:
        exported = export(adapter, first, unfinished / name)
        write_description(unfinished / about, description(cfg, adapter, names, buckets))
        check(adapter, exported, images)
    print(f"Written: {Path(args.output, name)} and {Path(args.output, about)}")


def _check_own_files_are_kept(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Raise if an exported file would replace the detector's weights, or its config, which has lt_det's keys."""
    weights = Path(cfg.MODEL.WEIGHTS)
    own = {Path(args.config), Path(cfg.OUTPUT_DIR, CONFIG_NAME), weights, weights.with_name(CONFIG_NAME)}
    for file in (Path(args.output, WEIGHTS_NAME), Path(args.output, CONFIG_NAME)):
        if file.exists() and file.resolve() in {path.resolve() for path in own}:
            raise LtDetError(
                f"--output {args.output} holds the detector's own {file.name}, which the export would replace; name "
                "another folder."
            )


def check(adapter: torch.nn.Module, exported: Exported, images: dict[str, Tensor]) -> None:
    """Print the differences between the exported and the eager model.

    Raises:
        LtDetError: they differ by more than rounding, or there was nothing to compare.
    """
    print("detections: eager, exported; largest difference: pixels, score")
    compared = 0
    for name, image in images.items():
        result = difference(adapter, exported, image)
        print(f"{result.eager:5d} {result.exported:5d} {result.pixels:9.1e} {result.score:9.1e}  {name}")
        if result.unmatched:
            raise LtDetError(
                f"The exported model differs from the eager one on {name}, where it lacks "
                f"{count_of(result.unmatched, 'detection')}; do not use it."
            )
        compared += result.eager
    if not compared:
        raise LtDetError("Nothing is detected in the sample images, so nothing was compared; give other images.")


def parser(program: str | None = None) -> argparse.ArgumentParser:
    parser = OneValueParser(
        program,
        description="Write a trained detector as one file that runs without lt_det and Detectron2, or as a checkpoint "
        "and a config for Detectron2 alone, and check it against the model.",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the yaml config of the training")
    parser.add_argument("--weights", type=expanded, metavar="FILE", help=WEIGHTS_HELP)
    parser.add_argument(
        "--format",
        choices=(*FORMATS, DETECTRON2),
        default="torchscript",
        help="torchscript and onnx run without Detectron2, detectron2 without lt_det (default: torchscript)",
    )
    parser.add_argument(
        "--output", type=expanded, required=True, metavar="FOLDER", help="folder for the model and its description"
    )
    parser.add_argument(
        "--sample-image",
        type=expanded,
        required=True,
        nargs="+",
        action="extend",
        metavar="PATH",
        help=f"images or folders of them, to trace and check with (the first {SAMPLES})",
    )
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="minimum score (default: the config's)")
    parser.add_argument(UNSAFE_OPTION, action="store_true", help=UNSAFE_HELP)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE config overrides, after all options")
    return parser
