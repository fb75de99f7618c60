"""A process group of one process over NCCL (over gloo on the CPU), in a training that torchrun starts.

With one process neither lt_det's launcher nor Detectron2 needs a process group or DistributedDataParallel. This stage
opens the one and wraps the network in the other, so that collectives, gradients and evaluation pass through NCCL.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
import tempfile
from pathlib import Path

import torch
from detectron2.utils import comm
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.gpu import measure
from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from benchmarks.gpu.stages.resume import compare, tolerance
from benchmarks.gpu.training import Iteration, Trainer, build, mini_lvis_config, train
from lt_det.training import argument_parser, run

MEGABYTES = 100


def open_group() -> None:
    """Unless the launcher has done so."""
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device() == "cuda" else "gloo", init_method="env://")
        comm.create_local_process_group(1)


def end_with_parent() -> None:
    """torchrun gives its processes sessions of their own; where it is killed at the time limit, they must not stay."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def check_collectives() -> None:
    values = torch.ones(1 if is_small() else MEGABYTES * 250_000, device=device())
    distributed.all_reduce(values)  # the first call connects
    seconds = measure.seconds(lambda: distributed.all_reduce(values), device())
    sums = values.min().item(), values.max().item()
    gathered = comm.all_gather({"rank": comm.get_rank()})
    comm.synchronize()
    version = ".".join(map(str, torch.cuda.nccl.version())) if device() == "cuda" else None
    write_figures(
        "nccl",
        "collectives",
        backend=distributed.get_backend(),
        processes=distributed.get_world_size(),
        nccl=version,
        all_reduce_milliseconds=1000 * seconds,
    )
    require(sums == (1.0, 1.0), f"all_reduce over one process changed ones to {sums}")
    require(gathered == [{"rank": 0}], f"all_gather returned {gathered}")


def trained(cfg: object, in_parallel: bool) -> tuple[list[Iteration], Trainer]:
    trainer = build(Trainer, cfg)
    if in_parallel:
        ids = [0] if device() == "cuda" else None
        model = DistributedDataParallel(trainer._trainer.model, device_ids=ids, broadcast_buffers=False)
        trainer._trainer.model = model
    return train(trainer, save=False), trainer


def main(args: argparse.Namespace) -> None:
    iterations = 3 if is_small() else 20
    with tempfile.TemporaryDirectory() as temporary:
        cfg = mini_lvis_config(Path(temporary), iterations)
        alone, _ = trained(cfg, in_parallel=False)
        open_group()
        check_collectives()
        parallel, trainer = trained(cfg, in_parallel=True)
        first, largest = compare(parallel, alone)
        write_figures("nccl", "training", iterations=iterations, first_difference=first, largest_difference=largest)
        require(first <= tolerance(), f"the first loss differs by {first:.2g} from that without a process group")
        cfg.defrost()
        cfg.DATASETS.TEST = ("mini_lvis_val",)
        results = Trainer.test(cfg, trainer.model)
        write_figures("nccl", "evaluation", bbox_ap=results["bbox"]["AP"])
        distributed.destroy_process_group()


if __name__ == "__main__":
    end_with_parent()
    sys.exit(run(main, argument_parser().parse_args()))
