"""The arguments by which a command takes a trained detector."""

from __future__ import annotations

import argparse
import logging

from lt_det.io.plain_values.yaml_files import UNSAFE_HELP, UNSAFE_OPTION


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RUN or ``--config``, and overrides of the config; see `config_of_detector`."""
    parser.add_argument("--config", metavar="FILE", help="instead of RUN: a yaml config with MODEL.WEIGHTS")
    parser.add_argument(UNSAFE_OPTION, action="store_true", help=UNSAFE_HELP)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RUN [KEY VALUE]",
        help="OUTPUT_DIR of a training, unless --config is given, and overrides of its config",
    )


def log_sizes() -> None:
    """Let the feature cache say beforehand how large it becomes and how long it takes."""
    logging.getLogger("lt_det.bakeoff.features").setLevel(logging.INFO)
