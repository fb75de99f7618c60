"""What each process of `lt-det train` does: train or evaluate a yaml config or a LazyConfig, then write the report."""

from __future__ import annotations

import argparse
from pathlib import Path

from detectron2.evaluation import verify_results
from detectron2.utils import comm

from lt_det.reporting import write_report
from lt_det.training.config_files.shipped import config_path
from lt_det.training.config_loading import setup, setup_lazy
from lt_det.training.detectron2_keys.test_time_augmentation import FOLDER
from lt_det.training.lazy_trainer import LazyTrainer, evaluate_lazy
from lt_det.training.trainer import LongTailTrainer


def train(args: argparse.Namespace) -> None:
    """Train or evaluate a config, a yaml file or a LazyConfig (.py).

    Args:
        args: what `argument_parser` parsed.

    Raises:
        LtDetError: see `setup` and `setup_lazy`.
    """
    is_lazy = bool(args.config_file) and config_path(args.config_file).endswith(".py")
    (train_lazy if is_lazy else train_yaml)(args)


def train_yaml(args: argparse.Namespace) -> None:
    """As `train`, for a yaml config; a LazyConfig is refused."""
    cfg = setup(args)
    if args.eval_only:
        results = LongTailTrainer.evaluate(cfg, resume=args.resume)
        if comm.is_main_process():
            verify_results(cfg, results)
    else:
        trainer = LongTailTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()
    if comm.is_main_process() and cfg.DATASETS.TEST:
        if cfg.TEST.AUG.ENABLED:
            print(f"Report with test-time augmentation: {_page(Path(cfg.OUTPUT_DIR) / FOLDER)}")
        print(f"Report: {_page(cfg.OUTPUT_DIR)}")


def train_lazy(args: argparse.Namespace) -> None:
    """As `train`, for a LazyConfig; a yaml config is refused."""
    cfg = setup_lazy(args)
    if args.eval_only:
        evaluate_lazy(cfg, resume=args.resume)
    else:
        trainer = LazyTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()
    if comm.is_main_process():
        print(f"Report: {_page(cfg.train.output_dir)}")


def _page(output_dir: str | Path) -> Path:
    """Write the report, and return the page of it, which is what one opens."""
    return write_report(output_dir).with_suffix(".html")
