"""`lt-det mini-lvis`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("mini-lvis", help="generate the small synthetic dataset of the demo")
    parser.add_argument("out", type=Path, help="output folder; training looks in mini_lvis under DETECTRON2_DATASETS")
    parser.add_argument("--num-train", type=int, default=4000, metavar="N", help="training images (default 4000)")
    parser.add_argument("--num-val", type=int, default=400, metavar="N", help="validation images (default 400)")
    parser.add_argument("--num-classes", type=int, default=62, metavar="K", help="classes, 3 to 1203 (default 62)")
    parser.add_argument(
        "--imbalance",
        metavar="KIND",
        help="shape of the training counts, with balanced validation: exponential or step (with --ratio), or lvis",
    )
    parser.add_argument(
        "--ratio",
        type=float,
        metavar="R",
        help="images of the most frequent class divided by those of the rarest; 1: balanced",
    )
    parser.add_argument("--seed", type=int, default=0, help="each seed gives another dataset (default 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.datasets.mini_lvis.generate import describe_mini_lvis, write_mini_lvis

    written = write_mini_lvis(
        args.out,
        num_train=args.num_train,
        num_val=args.num_val,
        num_classes=args.num_classes,
        imbalance=args.imbalance,
        ratio=args.ratio,
        seed=args.seed,
    )
    console.print(
        f"mini_lvis: {written.train_json}, {written.val_json}; contact sheet: {written.contact_sheet}",
        soft_wrap=True,
        markup=False,
    )
    console.print(describe_mini_lvis(written), soft_wrap=True, markup=False)
    return 0
