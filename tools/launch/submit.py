#!/usr/bin/env python
"""Submit a training to SLURM with submitit (pip install 'lt-det[submitit]'), one task per GPU.

tools/launch/submit.py --gpus 8 --hours 24 --account NAME -- --config configs/lvis_eql.yaml OUTPUT_DIR out

Before the time limit and on pre-emption, the job saves a checkpoint, is requeued, and resumes from there.
"""

import argparse
import math
import os
import runpy
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

try:
    import submitit
except ImportError as error:
    if error.name != "submitit":
        sys.exit(f"error: submitit is installed but does not import ({error}); install it again, or what it lacks.")
    sys.exit("error: submitit is not installed; pip install 'lt-det[submitit]'.")

from lt_det.errors import LtDetError, exit_code_of

TOOLS = Path(__file__).resolve().parents[1]
CPUS = 5  # Detectron2's DATALOADER.NUM_WORKERS, and the process itself
OTHER = "such as --sbatch constraint=a100 --sbatch exclusive"

_USE = {"nodes": "nodes", "time": "hours", "gpus-per-node": "gpus", "ntasks-per-node": "processes"}
_USE |= {"cpus-per-task": "cpus", "mem": "mem", "account": "account", "partition": "partition", "qos": "qos"}
_ITS_OWN = ("signal", "open-mode", "output", "error")
NOT_IN_SBATCH = {name: f"use --{option}" for name, option in _USE.items()}
NOT_IN_SBATCH |= {name: f"leave it out, because the job needs its own {name}" for name in _ITS_OWN}


class Training:
    """The function that submitit runs in each task.

    Args:
        tool: a file in tools/.
        arguments: of the tool.
    """

    def __init__(self, tool: str, arguments: list[str]) -> None:
        self.tool, self.arguments = tool, arguments

    def __call__(self) -> None:
        requeue = signal.getsignal(signal.SIGUSR2)

        def stop(signum: int, frame: FrameType | None) -> None:
            """Let training save and exit; submitit's own handler would requeue in the middle of an iteration."""
            if signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL:
                os.kill(os.getpid(), signal.SIGUSR1)
            elif callable(requeue):  # before or after training, where SIGUSR1 would kill the process
                requeue(signum, frame)

        signal.signal(signal.SIGUSR2, stop)
        # --eval-only evaluates MODEL.WEIGHTS, but with --resume the last checkpoint in OUTPUT_DIR.
        resume = [] if "--eval-only" in self.arguments else ["--resume"]
        sys.argv = [self.tool, *resume, *self.arguments]
        try:
            runpy.run_path(str(TOOLS / self.tool), run_name="__main__")
        except SystemExit as exit_:
            if exit_.code == 128 + signal.SIGUSR1 and callable(requeue):
                requeue(signal.SIGUSR2, None)
            if exit_.code:
                raise

    def checkpoint(self) -> Any:
        """The job to requeue; submitit calls this."""
        return submitit.helpers.DelayedSubmission(self)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, required=True, help="per node; 0 for --processes on the CPU")
    parser.add_argument("--processes", type=int, help="per node; default: --gpus")
    parser.add_argument("--cpus", type=int, help=f"per process; default with GPUs: {CPUS}, DATALOADER.NUM_WORKERS + 1")
    parser.add_argument("--mem", help="memory per node, such as 200G; 0: all; default: your cluster's")
    parser.add_argument("--hours", type=float, default=24)
    for name in ("account", "partition", "qos"):
        parser.add_argument(f"--{name}", help="as in sbatch")
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar="NAME[=VALUE]", help=f"another option of sbatch, {OTHER}"
    )
    parser.add_argument(
        "--tool", default="train_net.py", help="tool to run: train_net.py (the default) or lazyconfig_train_net.py"
    )
    parser.add_argument("--logs", default="output/submitit", help="a folder that all nodes share")
    parser.add_argument("arguments", nargs="+", help="arguments of the tool, after --")
    args = parser.parse_args()

    executor = submitit.SlurmExecutor(folder=args.logs)
    executor.update_parameters(**job_parameters(args))
    try:
        job = executor.submit(Training(args.tool, args.arguments))
    except submitit.core.utils.FailedJobError as error:
        reasons = [line.removeprefix("sbatch: error: ") for line in str(error).strip().splitlines()]
        raise LtDetError(f"sbatch refuses the job ({'; '.join(reasons)}); change the options of submit.py.") from error
    print(f"Job {job.job_id}; logs in {args.logs}")


def job_parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The parameters of submitit's SlurmExecutor.

    Raises:
        LtDetError: an option in --sbatch that has an option of its own, or that the job needs as it is; no process, no
            time or an unknown tool.
    """
    processes, minutes = args.processes or args.gpus, args.hours * 60
    if processes < 1:
        raise LtDetError(f"--gpus is {args.gpus}; write at least 1, or add --processes N to train on the CPU.")
    if not 1 <= minutes < math.inf:  # SLURM takes 0 as no limit
        raise LtDetError(f"--hours is {args.hours:g}; write a number of hours of at least one minute, such as 24.")
    if not (TOOLS / args.tool).is_file():
        raise LtDetError(f"--tool {args.tool} is not in {TOOLS}; write train_net.py or lazyconfig_train_net.py.")
    cpus = args.cpus or (CPUS if args.gpus else None)
    optional = {
        "gpus_per_node": args.gpus or None,
        "cpus_per_task": cpus,
        # Since SLURM 22.05 srun does not take --cpus-per-task from sbatch: a task might get one CPU.
        "setup": [f"export SRUN_CPUS_PER_TASK={cpus}"] if cpus else None,
        "mem": args.mem,
        "account": args.account,
        "partition": args.partition,
        "qos": args.qos,
        "additional_parameters": _others(args.sbatch) or None,
    }
    return {
        "job_name": "lt_det",
        "nodes": args.nodes,
        "ntasks_per_node": processes,
        "time": round(minutes),
        "signal_delay_s": 300,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _others(options: list[str]) -> dict[str, str | bool]:
    """``["constraint=a100", "exclusive"]`` as submitit takes them."""
    parsed: dict[str, str | bool] = {}
    for option in options:
        name, equals, value = option.partition("=")
        name = name.replace("_", "-")  # as submitit does
        if name in NOT_IN_SBATCH:
            raise LtDetError(f"--sbatch {option} would replace what submit.py sets; {NOT_IN_SBATCH[name]}.")
        if not name or name.startswith("-") or (equals and not value):
            raise LtDetError(f"--sbatch is '{option}'; write NAME=VALUE or NAME, {OTHER}.")
        parsed[name] = value if equals else True
    return parsed


if __name__ == "__main__":
    sys.exit(exit_code_of(main, traceback=False))
