#!/usr/bin/env python
"""Speed of trainings on mini_lvis: LongTailTrainer against DefaultTrainer, two processes against one.

A step includes data loading, the network, hooks, log and checkpoints. The trainers take turns step by step, so that
other load on the machine affects them equally; under heavy load, CPU time says more than wall time. One process and two
processes take turns by rounds. Every process uses one thread.

DETECTRON2_DATASETS=datasets python benchmarks/throughput.py --rounds 12
"""

import argparse
import contextlib
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from detectron2.engine import DefaultTrainer
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from rich.console import Console
from rich.table import Table

from lt_det.training import LongTailTrainer, load_config, watched

STEPS = 20  # per round, in which the log is written once
SPAWN = torch.multiprocessing.get_context("spawn")


class Training:
    """A training that advances one step at a time."""

    def __init__(self, folder, config, trainer_class, images, *overrides):
        cfg = load_config(f"configs/{config}.yaml", overrides)
        cfg.DATASETS.TEST, cfg.TEST.EVAL_PERIOD, cfg.DATALOADER.NUM_WORKERS = (), 0, 0
        cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = images * comm.get_world_size(), 100_000
        cfg.OUTPUT_DIR = str(folder)
        folder.mkdir(exist_ok=True)
        seed_all_rng(0)
        self.trainer = trainer_class(cfg)
        self.trainer.iter = self.trainer.start_iter = 0
        self.trainer.storage = EventStorage()
        self.contexts = contextlib.ExitStack()
        if trainer_class is LongTailTrainer:
            self.contexts.enter_context(watched(self.trainer, self.trainer.checkpointer))
        with self.trainer.storage:
            self.trainer.before_train()

    def step(self):
        """Take one step and return its wall time and CPU time in seconds."""
        seed_all_rng(self.trainer.iter + 1)  # the same proposals are sampled for all
        start = np.array([time.perf_counter(), time.process_time()])
        with self.trainer.storage:
            self.trainer.before_step()
            self.trainer.run_step()
            self.trainer.after_step()
            self.trainer.iter += 1
        return np.array([time.perf_counter(), time.process_time()]) - start


def trainers(folder, images, rounds):
    """Compare LongTailTrainer with DefaultTrainer; returns a table."""
    softmax = "mini_lvis_softmax"
    stock_heads = ("MODEL.ROI_HEADS.NAME", "StandardROIHeads")
    trainings = {
        "DefaultTrainer, StandardROIHeads, softmax": Training(
            folder / "stock", softmax, DefaultTrainer, images, *stock_heads
        ),
        "LongTailTrainer, LongTailROIHeads, softmax": Training(folder / "heads", softmax, LongTailTrainer, images),
        "LongTailTrainer, LongTailROIHeads, EQL": Training(folder / "eql", "mini_lvis_eql", LongTailTrainer, images),
    }
    seconds = {name: [] for name in trainings}
    for round_number in range(rounds + 1):
        sums = dict.fromkeys(trainings, np.zeros(2))
        for step in range(STEPS):
            for name in sorted(trainings, reverse=step % 2):  # so that none always follows the same one
                sums[name] = sums[name] + trainings[name].step()
        for name in trainings:
            if round_number:  # the first round warms up
                seconds[name].append(sums[name])
    times = {name: np.array(values).T for name, values in seconds.items()}
    reference = next(iter(times.values()))
    table = Table(title=f"One process, {images} images per step, {rounds} rounds of {STEPS} steps")
    for column in ("", "ms per step", "/ DefaultTrainer", "quartiles", "CPU ms", "/ DefaultTrainer", "quartiles"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values in times.items():
        columns = [[per_step(own), *quartiles(own / stock)] for own, stock in zip(values, reference, strict=True)]
        table.add_row(name, *columns[0], *columns[1])
    return table


def processes(folder, images, rounds):
    """Compare the throughput of two processes with twice that of one; returns a table."""
    begin, end = (SPAWN.Barrier(3, timeout=600) for _ in range(2))  # seconds, after which a process must have failed
    work = (folder, images, rounds, begin, end)
    pair = [SPAWN.Process(target=one_of_two, args=(rank, *work), daemon=True) for rank in range(2)]
    for process in pair:
        process.start()
    alone = Training(folder / "alone", "mini_lvis_softmax", LongTailTrainer, images)
    seconds = []
    for round_number in range(rounds + 1):
        alone_seconds = sum(alone.step()[0] for _ in range(STEPS))
        begin.wait()
        start = time.perf_counter()
        end.wait()
        if round_number:
            seconds.append((alone_seconds, time.perf_counter() - start))
    for process in pair:
        process.join()
    one, two = np.array(seconds).T
    table = Table(title=f"{images} images per step and process, over gloo, {rounds} rounds of {STEPS} steps")
    for column in ("", "ms per step", "fraction of twice the images/s", "quartiles"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("one process", per_step(one))
    table.add_row("two processes", per_step(two), *quartiles(one / two))
    return table


def one_of_two(rank, folder, images, rounds, begin, end):
    set_up()
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    training = Training(folder / "together", "mini_lvis_softmax", LongTailTrainer, images)
    for _ in range(rounds + 1):
        begin.wait()
        for _ in range(STEPS):
            training.step()
        end.wait()


def per_step(seconds):
    return f"{1000 * np.median(seconds) / STEPS:.0f}"


def quartiles(ratios):
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return f"{middle:.3f}", f"{low:.3f} to {high:.3f}"


def set_up():
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8, help="per step and process")
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    set_up()
    for measure in (trainers, processes):
        with tempfile.TemporaryDirectory() as folder:
            Console(width=140).print(measure(Path(folder), args.images, args.rounds))


if __name__ == "__main__":
    main()
