"""A tool that the tests start in several processes: its first override says what the processes do."""

import os
import signal
import sys
import time

import torch
from detectron2.engine import HookBase, TrainerBase
from detectron2.engine.hooks import EvalHook
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.utils import comm

from lt_det.errors import LtDetError
from lt_det.losses import Seesaw
from lt_det.training import argument_parser, evaluation_timeout, run
from lt_det.training.preemption import EvalUnlessStopped, StopOnInterrupt, StoppableEvaluator


def say(text):
    os.write(1, f"{text}\n".encode())  # whole, in one piece


def tell_place(args):
    """Also what a loss has seen of a class of which process 0 has one RoI, process 1 two."""
    loss = Seesaw(3)
    rois = comm.get_rank() + 1
    loss(torch.zeros(rois, loss.num_logits), torch.zeros(rois, dtype=torch.int64))
    seen = loss.seen[0].item()
    say(f"{comm.get_rank()}/{comm.get_world_size()} {comm.get_local_rank()}/{comm.get_local_size()} {seen:g}")


def mistake(args):
    if comm.get_rank() == 1:
        raise LtDetError("no images here.")
    comm.synchronize()


def bug(args):
    tell_place(args)
    if comm.get_rank() == 1:
        raise ValueError("a bug of rank 1")
    comm.synchronize()


def killed(args):
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.synchronize()


def slow_judge(args):
    """Longer than the training time-out: gathering objects, at the barrier of Detectron2's EvalHook, in training."""
    tell_place(args)
    with evaluation_timeout():
        if comm.is_main_process():
            time.sleep(4)
        comm.gather("found")
        if comm.is_main_process():
            time.sleep(4)
    comm.synchronize()
    say("judged")
    comm.synchronize()
    if comm.is_main_process():
        time.sleep(4)
    comm.synchronize()


class Saver:
    def save(self, name, iteration):
        say(f"saved {name}")


class Pause(HookBase):
    def after_step(self):
        time.sleep(0.05)


class Trainer(TrainerBase):
    def run_step(self):
        if self.iter == 3 and comm.get_rank() == 0:
            say("running")


def train(args):
    trainer = Trainer()
    trainer.register_hooks([Pause(), StopOnInterrupt(Saver())])
    try:
        trainer.train(0, 2000)
    finally:
        say(f"process {comm.get_rank()} stopped at {trainer.iter}")


class Evaluator(DatasetEvaluator):
    """Of 200 images, or of one in process 0, which then waits for the others."""

    def reset(self):
        say(f"process {comm.get_rank()} begins")

    def process(self, inputs, outputs):
        time.sleep(0.05)

    def evaluate(self):
        say("judged")


def judge():
    images = [0] * (1 if comm.is_main_process() else 200)
    with evaluation_timeout():
        inference_on_dataset(lambda batch: batch, images, StoppableEvaluator(Evaluator()))


def judge_in(iterations, hook=EvalUnlessStopped):
    trainer = Trainer()
    trainer.register_hooks([hook(2, judge), StopOnInterrupt(Saver())])
    trainer.train(0, iterations)


def judge_in_training(args):
    judge_in(2000)


def judge_after_training(args):
    judge_in(2)


def judge_by_another_hook(args):
    judge_in(2000, EvalHook)


def main(args):
    globals()[args.opts[0]](args)


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
