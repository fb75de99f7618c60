"""tools/train_net.py in two processes: loss_cls of process 1 becomes NaN in iteration 3. Run by test_diagnostics."""

import sys

import torch
from detectron2.utils import comm

from lt_det.training import LongTailTrainer, argument_parser, run, setup


def main(args):
    trainer = LongTailTrainer(setup(args))
    predictor = trainer.model.module.roi_heads.box_predictor
    losses = predictor.losses

    def losses_with_nan(*inputs):
        values = losses(*inputs)
        if trainer.iter == 3 and comm.get_rank() == 1:
            values["loss_cls"] = values["loss_cls"] * torch.nan
        return values

    predictor.losses = losses_with_nan
    trainer.train()


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
