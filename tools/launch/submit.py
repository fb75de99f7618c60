#!/usr/bin/env python
"""Submit a training to SLURM with submitit (pip install 'lt-det[submitit]'), one task per GPU.

tools/launch/submit.py --nodes 2 --gpus 8 --hours 24 --partition NAME -- --config configs/lvis_eql.yaml OUTPUT_DIR out

Before the time limit and on pre-emption, the job saves a checkpoint, is requeued, and resumes from there.
"""

import argparse
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

from lt_det.errors import exit_code_of

TOOLS = Path(__file__).resolve().parents[1]


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
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--partition", help="a partition of your cluster")
    parser.add_argument("--tool", default="train_net.py", help="or lazyconfig_train_net.py")
    parser.add_argument("--logs", default="output/submitit", help="a folder that all nodes share")
    parser.add_argument("arguments", nargs="+", help="arguments of the tool, after --")
    args = parser.parse_args()

    executor = submitit.SlurmExecutor(folder=args.logs)
    executor.update_parameters(
        job_name="lt_det",
        nodes=args.nodes,
        ntasks_per_node=args.processes or args.gpus,
        time=round(args.hours * 60),
        signal_delay_s=300,
        **({"gpus_per_node": args.gpus} if args.gpus else {}),
        **({"partition": args.partition} if args.partition else {}),
    )
    job = executor.submit(Training(args.tool, args.arguments))
    print(f"Job {job.job_id}; logs in {args.logs}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main, traceback=False))
