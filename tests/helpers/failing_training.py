"""tools/train_net.py in two processes, of which one's loss_cls becomes NaN in iteration 3. Run by test_failures."""

import sys

import torch
from detectron2.utils import comm

from lt_det.training import LongTailTrainer, argument_parser, run, setup


def main(args):
    trainer = LongTailTrainer(setup(args))
    predictor = trainer.model.module.roi_heads.box_predictor
    losses = predictor.losses

    def spoiled(*given):
        found = losses(*given)
        if trainer.iter == 3 and comm.get_rank() == 1:
            found["loss_cls"] = found["loss_cls"] * torch.nan
        return found

    predictor.losses = spoiled
    trainer.train()


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
