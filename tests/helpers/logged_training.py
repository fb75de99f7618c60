"""tools/train_net.py, which also appends the losses of each iteration to OUTPUT_DIR/losses.jsonl; tests start it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm

from lt_det.training import LongTailTrainer, argument_parser, run, setup


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


def start(config, output, *flags, overrides=()):
    """Start this file in a session of its own, whose id is the process id."""
    command = [sys.executable, "-W", "ignore", __file__, "--config", str(config), *flags, "OUTPUT_DIR", str(output)]
    return subprocess.Popen(
        [*command, *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def iterations(output):
    """The iterations that have been logged, in the order of the file."""
    file = output / "losses.jsonl"
    return [json.loads(line)["iteration"] for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
