"""Run the stages one after the other, each in a process of its own, and summarize their figures."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu.figures import OUTPUT, figures_file, output_folder, read_figures, summary, write_figures
from benchmarks.gpu.machine import PREPARED, commit, describe, is_small

TOTAL_SECONDS = 500
LOG_LINES = 15  # of a failed stage, that are shown


@dataclass(frozen=True)
class Stage:
    """A module of `benchmarks.gpu.stages`.

    Attributes:
        about: for ``--list``.
        seconds: time limit, out of `TOTAL_SECONDS` for all stages.
        needs_mini_lvis: whether it reads that dataset; in small also those that need it only there.
        launcher: arguments of Python that start the module in another way.
    """

    about: str
    seconds: float
    needs_mini_lvis: bool = True
    launcher: tuple[str, ...] = ()


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "1")
STAGES = {  # in the order of their worth
    "losses": Stage("every loss against F.cross_entropy: time, memory, host synchronizations", 20, False),
    "step": Stage("a training step of configs/lvis_eql.yaml against stock Detectron2", 70, False),
    "classes": Stage("the box head at 1203 and 13,204 classes against stock Detectron2", 55, False),
    "amp": Stage("that step in float16 and bfloat16", 65),
    "bakeoff": Stage("features and candidates of a bake-off on mini_lvis", 80),
    "nccl": Stage("a process group of one process over NCCL", 40, launcher=TORCHRUN),
    "resume": Stage("save and resume a training on mini_lvis", 30),
    "evaluator": Stage("LongTailEvaluator with outputs on the GPU", 20),
    "train": Stage("300 iterations on mini_lvis, and evaluation", 45),
    "compile": Stage("torch.compile of every loss", 70, False),
}


def main() -> int:
    args = parse_arguments()
    if args.list:
        for name, stage in STAGES.items():
            print(f"{name:10} {stage.about}")
        return 0
    if args.prepare:
        return prepare()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that a stage ends with this process
    output = output_folder().resolve()
    output.mkdir(parents=True, exist_ok=True)
    os.environ[OUTPUT] = str(output)
    for name in ("figures.jsonl", "log.txt"):
        (output / name).write_text("")
    write_figures("machine", "this machine", **describe())
    # Times on the CPU mean nothing, so none of it is cut off.
    total = args.seconds or (TOTAL_SECONDS if torch.cuda.is_available() else 3600)
    deadline = time.monotonic() + total
    failed = []
    with mini_lvis(output / "log.txt", any(STAGES[name].needs_mini_lvis for name in args.stages)):
        for name in args.stages:
            limit = min(STAGES[name].seconds * total / TOTAL_SECONDS, deadline - time.monotonic())
            outcome = run_stage(name, limit, output / "log.txt")
            if outcome != "passed":
                failed.append(name)
    text = summary(read_figures(figures_file()))
    (output / "summary.md").write_text(text)
    print(f"\n{text}\nFigures, log and summary: {output}")
    if failed:
        print(f"error: These stages failed: {', '.join(failed)}; see {output / 'log.txt'}.", file=sys.stderr)
    return int(bool(failed))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description="Measure and check lt_det on a GPU.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)} (default: all)")
    parser.add_argument("--list", action="store_true", help="list the stages and exit")
    parser.add_argument("--prepare", action="store_true", help=f"write mini_lvis and the commit to {PREPARED} and exit")
    parser.add_argument(
        "--seconds", type=float, help=f"time limit of all stages (default: {TOTAL_SECONDS} on a GPU, 3600 without)"
    )
    args = parser.parse_args()
    unknown = [name for name in args.stages if name not in STAGES]
    if unknown:
        parser.error(f"there is no stage '{unknown[0]}'; the stages are {', '.join(STAGES)}")
    args.stages = args.stages or list(STAGES)
    return args


def run_stage(name: str, limit: float, log: Path) -> str:
    """Run a stage, note its outcome and time as a figure, and return the outcome."""
    stage = STAGES[name]
    if limit <= 0:
        write_figures("stages", name, outcome="not run: no time was left", seconds=0.0)
        return "not run"
    command = [sys.executable, "-W", "ignore", *stage.launcher, "-m", f"benchmarks.gpu.stages.{name}"]
    start = time.monotonic()
    with log.open("a") as file:
        file.write(f"===== {name}: {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            outcome = "passed" if process.wait(limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            outcome = f"timed out after {limit:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # also the processes that load data for it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    write_figures("stages", name, outcome=outcome, seconds=time.monotonic() - start)
    if outcome != "passed":
        print(*log.read_text().splitlines()[-LOG_LINES:], sep="\n", flush=True)
    return outcome


@contextlib.contextmanager
def mini_lvis(log: Path, is_needed: bool) -> Iterator[None]:
    """Set DETECTRON2_DATASETS, where it is not set, to a folder with mini_lvis: a prepared one, or one made now."""
    with tempfile.TemporaryDirectory() as temporary:
        if "DETECTRON2_DATASETS" not in os.environ:
            prepared = PREPARED / "datasets"
            is_prepared = (prepared / "mini_lvis").is_dir()
            os.environ["DETECTRON2_DATASETS"] = str(prepared.resolve() if is_prepared else temporary)
            if is_needed and not is_prepared:
                with log.open("a") as file:
                    write_mini_lvis(Path(temporary), is_small(), stdout=file, stderr=subprocess.STDOUT)
        yield


def write_mini_lvis(datasets: Path, small: bool, **streams: object) -> int:
    """Exit code of `lt-det mini-lvis`. A set that is there already is kept."""
    images = ("--num-train", "400", "--num-val", "40") if small else ("--num-train", "1000", "--num-val", "100")
    command = [sys.executable, "-m", "lt_det.cli", "mini-lvis", str(datasets / "mini_lvis"), *images]
    return subprocess.run(command, **streams).returncode  # type: ignore[call-overload]


def prepare() -> int:
    """Write what a machine without network, history and OpenCV lacks; returns an exit code."""
    PREPARED.mkdir(exist_ok=True)
    (PREPARED / "commit").write_text(f"{commit()}\n")
    return write_mini_lvis(PREPARED / "datasets", small=False)  # for a GPU, which this machine may lack


if __name__ == "__main__":
    sys.exit(main())
