#!/usr/bin/env python
"""Train or evaluate a yaml config.

tools/train_net.py --config configs/lvis_eql.yaml --num-gpus 8
tools/train_net.py --config configs/lvis_eql.yaml --eval-only MODEL.WEIGHTS model_final.pth
tools/train_net.py --config configs/lvis_eql.yaml --resume
"""

import argparse
import sys
from pathlib import Path

import lt_det.compat.quiet_import  # noqa: F401 - Detectron2 without its deprecation warnings

# isort: split
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from lt_det.reporting import write_report
from lt_det.training import LongTailTrainer, argument_parser, run, setup
from lt_det.training.detectron2_keys.test_time_augmentation import FOLDER


def main(args: argparse.Namespace) -> None:
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
            print(f"Report with test-time augmentation: {write_report(Path(cfg.OUTPUT_DIR) / FOLDER)}")
        print(f"Report: {write_report(cfg.OUTPUT_DIR)}")


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
