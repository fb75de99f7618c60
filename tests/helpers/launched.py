"""A tool that tests start in several processes; the first override names the function that each process runs."""

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
from lt_det.training.launch.env import process_from_environment
from lt_det.training.preemption import EvalUnlessStopped, StopOnInterrupt, StoppableEvaluator


def write(text):
    os.write(1, f"{text}\n".encode())  # one system call, so that lines of two processes do not mix


def print_process(args):
    """Ranks, which the environment says too, and the RoIs of a class that a loss has counted: one of process 0, two of
    process 1."""
    info = process_from_environment(os.environ)
    place = (comm.get_rank(), comm.get_world_size(), comm.get_local_rank(), comm.get_local_size())
    assert place == (info.rank, info.world_size, info.local_rank, info.local_world_size)
    loss = Seesaw(3)
    rois = comm.get_rank() + 1
    loss(torch.zeros(rois, loss.num_logits), torch.zeros(rois, dtype=torch.int64))
    write("{}/{} {}/{} {:g}".format(*place, loss.seen[0].item()))


def mistake(args):
    if comm.get_rank() == 1:
        raise LtDetError("no images here.")
    comm.synchronize()


def bug(args):
    print_process(args)
    if comm.get_rank() == 1:
        raise ValueError("a bug of rank 1")
    comm.synchronize()


def killed(args):
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.synchronize()


def slow_evaluation(args):
    """Longer than the training timeout: gathering objects, at the barrier of Detectron2's EvalHook, in training."""
    print_process(args)
    with evaluation_timeout():
        if comm.is_main_process():
            time.sleep(4)
        comm.gather("found")
        if comm.is_main_process():
            time.sleep(4)
    comm.synchronize()
    write("evaluated")
    comm.synchronize()
    if comm.is_main_process():
        time.sleep(4)
    comm.synchronize()


class Saver:
    """A checkpointer that takes some seconds, and writes no checkpoint."""

    def __init__(self, seconds=0):
        self.seconds = seconds

    def save(self, name, iteration):
        write(f"saving {name}")
        time.sleep(self.seconds)
        write(f"saved {name}")


class Pause(HookBase):
    def after_step(self):
        time.sleep(0.05)


class Trainer(TrainerBase):
    def run_step(self):
        if self.iter == 3 and comm.get_rank() == 0:
            write("running")


def train(args):
    """The second override is the number of seconds that saving takes."""
    trainer = Trainer()
    trainer.register_hooks([Pause(), StopOnInterrupt(Saver(float(args.opts[1])))])
    try:
        trainer.train(0, 2000)
    finally:
        write(f"process {comm.get_rank()} stopped at {trainer.iter}")


class Evaluator(DatasetEvaluator):
    """Of 200 images, or of one in process 0, which then waits for the others."""

    def reset(self):
        write(f"process {comm.get_rank()} begins")

    def process(self, inputs, outputs):
        time.sleep(0.05)

    def evaluate(self):
        write("evaluated")


def evaluate():
    images = [0] * (1 if comm.is_main_process() else 200)
    with evaluation_timeout():
        inference_on_dataset(lambda batch: batch, images, StoppableEvaluator(Evaluator()))


def train_and_evaluate(iterations, hook=EvalUnlessStopped):
    trainer = Trainer()
    trainer.register_hooks([hook(2, evaluate), StopOnInterrupt(Saver())])
    trainer.train(0, iterations)


def evaluate_during_training(args):
    train_and_evaluate(2000)


def evaluate_after_training(args):
    train_and_evaluate(2)


def evaluate_by_another_hook(args):
    train_and_evaluate(2000, EvalHook)


def main(args):
    globals()[args.opts[0]](args)


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
