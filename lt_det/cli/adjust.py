"""`lt-det adjust`, also known as `lt-det calibrate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console, track_step
from lt_det.io.plain_values.yaml_files import UNSAFE_HELP, UNSAFE_OPTION


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "adjust",
        aliases=["calibrate"],
        help="adjust a trained classifier to the long tail, without training",
        description="Adjust a trained classifier to the long tail, without training: tau-normalization, NorCal or "
        "logit adjustment. Tries several strengths, and writes the detector with the best box AP to OUTPUT_DIR.",
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="yaml config with MODEL.LONG_TAIL.CALIBRATION, or the name of a shipped one, such as lvis_norcal",
    )
    parser.add_argument(UNSAFE_OPTION, action="store_true", help=UNSAFE_HELP)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.evaluation.result import percent
    from lt_det.inference.adjustment_search import search_adjustment
    from lt_det.reporting.tables import adjustment_table
    from lt_det.training import load_config

    cfg = load_config(args.config, args.opts, args.allow_unsafe_config)
    search = search_adjustment(cfg, track_step("Evaluating each value"))
    console.print(adjustment_table(search.method, search.data, search.buckets, search.metrics).to_rich())
    chosen, unadjusted = (percent(search.metrics[value]["AP"]) for value in (search.chosen, 0.0))
    larger = "; this is the largest value, so try larger ones" if search.chosen == max(search.metrics) else ""
    console.print(
        f"Chosen by box AP: {search.chosen:g}, AP {chosen} (unadjusted {unadjusted}){larger}\n"
        f"Evaluate it: lt-det train --config {Path(cfg.OUTPUT_DIR) / 'config.yaml'} --eval-only",
        soft_wrap=True,
        markup=False,
    )
    return 0
