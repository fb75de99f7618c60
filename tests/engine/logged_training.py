"""tools/train_net.py, with every iteration's losses appended to OUTPUT_DIR/losses.jsonl. Run by test_interruption."""

import json
import sys
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm

from lt_det.engine import LongTailTrainer, argument_parser, run, setup


class EveryLoss(HookBase):
    def __init__(self, file):
        self.file = file

    def after_step(self):
        losses = {name: value for name, (value, _) in self.trainer.storage.latest().items() if "loss" in name}
        with self.file.open("a") as file:
            file.write(json.dumps({"iteration": self.trainer.iter, **losses}) + "\n")


def main(args):
    cfg = setup(args)
    trainer = LongTailTrainer(cfg)
    if comm.is_main_process():
        trainer.register_hooks([EveryLoss(Path(cfg.OUTPUT_DIR) / "losses.jsonl")])
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
