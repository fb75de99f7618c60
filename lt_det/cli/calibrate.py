"""`lt-det calibrate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console, progress_bar


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("calibrate", help="calibrate a trained classifier, without training")
    parser.add_argument("--config", required=True, metavar="FILE", help="yaml, with MODEL.LONG_TAIL.CALIBRATION")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.inference.adjustment_search import calibrate
    from lt_det.reporting.tables import calibration_table, percent
    from lt_det.training import load_config

    cfg = load_config(args.config, args.opts)
    grid = calibrate(cfg, progress_bar("Judging each value"))
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
