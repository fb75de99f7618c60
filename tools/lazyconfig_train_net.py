#!/usr/bin/env python
"""Train or evaluate a LazyConfig.

tools/lazyconfig_train_net.py --config configs/lazy/lvis_eql.py --num-gpus 8
tools/lazyconfig_train_net.py --config configs/lazy/mini_lvis_eql.py train.max_iter=100
"""

import argparse
import sys

from detectron2.utils import comm

from lt_det.reporting import write_report
from lt_det.training import LazyTrainer, argument_parser, evaluate_lazy, run, setup_lazy


def main(args: argparse.Namespace) -> None:
    cfg = setup_lazy(args)
    if args.eval_only:
        evaluate_lazy(cfg, resume=args.resume)
    else:
        trainer = LazyTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()
    if comm.is_main_process():
        print(f"Report: {write_report(cfg.train.output_dir)}")


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
