"""Run the trainings of a plan: one per worker, each on one thread; what is in results/ is not run again.

Run in the root of the repository::

    python -m benchmarks.evidence.run benchmarks/evidence/plans/table2.yaml --list
    python -m benchmarks.evidence.run benchmarks/evidence/plans/table2.yaml --work output/evidence --workers 2

Ctrl-C or SIGTERM saves the running trainings and stops; the same command goes on with them, as long as the working
folder is there. A training that fails is reported, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.evidence import rows
from benchmarks.evidence.datasets import make_dataset
from benchmarks.evidence.jobs import (
    Estimate,
    add_missing_draws,
    add_seconds,
    command,
    environment,
    is_evaluated,
    iterations_done,
    keep_result,
    remove_checkpoints,
    start_notes,
)
from benchmarks.evidence.plan import Job, Plan, PlanError, read_plan
from lt_det.terminal import count_of

_REPORT_EVERY = 300  # seconds
_SECONDS_TO_SAVE = 60
_SHOWN_LINES = 3  # of the output of a failed job


class Runner:
    """Runs the jobs of a plan in threads that each start one process at a time.

    Args:
        plan: see `benchmarks.evidence.plan`.
        work: folder of the trainings and datasets.
        only: patterns of names, such as ``trainings/softmax_*``; with none, all jobs run.
    """

    def __init__(self, plan: Plan, work: Path, only: list[str]) -> None:
        self.plan, self.work, self._only = plan, work, only
        self.failed: list[str] = []
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._made_datasets = threading.Lock()

    def jobs(self) -> list[Job]:
        """The chosen jobs in order; those that need a learning rate that is not chosen yet have `waits_for`."""
        jobs = self.plan.jobs()
        return [job for job in jobs if not self._only or any(fnmatch.fnmatch(job.name, one) for one in self._only)]

    def pending(self) -> list[Job]:
        return [job for job in self.jobs() if job.result() is None and job.name not in self.failed]

    def run(self, workers: int) -> None:
        """Run all jobs that are not done; return when they have finished, or soon after `stop`."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        reported = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)  # signals are handled meanwhile
            if time.monotonic() - reported > _REPORT_EVERY and not self.stopped.is_set():
                reported = time.monotonic()
                self._report_progress(workers)

    def stop(self) -> None:
        """Let the running trainings save and end, and start no other."""
        self.stopped.set()

    def _work(self) -> None:
        while not self.stopped.is_set():
            with self._lock:
                job = self._next()
                idle = not self._running
                if job is not None:
                    self._running.add(job.name)
            if job is None:
                if idle:
                    return
                time.sleep(1)  # a running job may be what others need
                continue
            try:
                self._run(job)
            except Exception as error:  # the other jobs go on
                self._fail(job, f"{type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self._running.remove(job.name)

    def _next(self) -> Job | None:
        """The first job that can run; where its detector is not here, the training of the detector."""
        for job in self.pending():
            if job.waits_for or job.name in self._running:
                continue
            if job.detector is None or is_evaluated(job.detector, self.work):
                return job
            if job.detector.name not in (*self._running, *self.failed):
                return job.detector
        return None

    def _run(self, job: Job) -> None:
        with self._made_datasets:
            datasets = make_dataset(self.work, job.dataset, self.plan.datasets)
        if self.stopped.is_set():
            return
        start_notes(job, self.work)
        _say(f"{job.name} starts: {count_of(len(self.pending()), 'job')} left")
        log = self.work / job.name / "output.txt"
        with log.open("ab") as output:
            before = log.stat().st_size
            process = subprocess.Popen(
                command(job, self.work),
                env=environment(datasets),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C goes to this process alone, which passes it on
            )
            code, seconds = self._wait(process)
        add_seconds(job, self.work, seconds)
        if self.stopped.is_set() and code:
            _say(f"{job.name} is interrupted after {count_of(iterations_done(job, self.work), 'iteration')}")
        elif code:
            self._fail(job, f"exit code {code}, see {log}\n{_last_lines(log, before)}")
        elif job.result() is not None:
            differ = "" if add_missing_draws(job, self.work) else ", although its metrics are others now"
            _say(f"{job.name} is trained again for the jobs that start from it; its result is kept{differ}")
        else:
            _say(f"{job.name} is done: {keep_result(job, self.plan, self.work)}")
            remove_checkpoints(job, self.work)

    def _wait(self, process: subprocess.Popen[bytes]) -> tuple[int, float]:
        """Wait for a process to end, and not long after `stop`; return its exit code and its CPU seconds."""
        deadline = None
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode, usage.ru_utime + usage.ru_stime  # with those of its workers
            time.sleep(0.1)
            if self.stopped.is_set() and deadline is None:
                deadline = time.monotonic() + _SECONDS_TO_SAVE
                process.terminate()
            elif deadline is not None and time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _fail(self, job: Job, why: str) -> None:
        self.failed.append(job.name)
        _say(f"{job.name} FAILED: {why}")

    def _report_progress(self, workers: int) -> None:
        estimate = Estimate(self.plan.jobs())
        left = 0.0
        for job in self.pending():
            done = iterations_done(job, self.work)
            left += estimate.seconds(job, done)
            if job.name in self._running and job.iterations:
                _say(f"{job.name}: iteration {done} of {job.iterations}")
        _say(f"about {left / 3600 / workers:.1f} hours left")


def list_jobs(runner: Runner) -> None:
    """Print each job with its state and what it costs, and the sums."""
    jobs = runner.jobs()
    estimate = Estimate(runner.plan.jobs())
    spent = left = 0.0
    for job in jobs:
        result = job.result()
        hours = (result or {}).get("seconds", 0) / 3600 if result else estimate.seconds(job) / 3600
        spent, left = (spent + hours, left) if result else (spent, left + hours)
        waits = ", its learning rate is not chosen yet" if job.waits_for else ""
        print(f"{'done' if result else 'not run':8}{hours:6.2f} h  {job.name}{'' if result else waits}")
    done = sum(job.result() is not None for job in jobs)
    print(
        f"{done} of {len(jobs)} jobs are done; about {left:.1f} core-hours are left, {spent:.1f} are known to be spent"
    )


def _last_lines(log: Path, before: int) -> str:
    """The last lines of a file behind its first `before` bytes."""
    lines = log.read_bytes()[before:].decode(errors="replace").split("\n")
    return "\n".join(f"  {line}" for line in [line for line in lines if line.strip()][-_SHOWN_LINES:])


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="yaml file, see benchmarks/evidence/plans")
    parser.add_argument("--work", type=Path, default=Path("output/evidence"), help="folder of the trainings")
    parser.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="NAME", help="jobs, such as 'trainings/softmax_*'"
    )
    parser.add_argument("--list", action="store_true", help="list the jobs with their cost, and run none")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trainings at a time (default 1)")
    parser.add_argument("--results", type=Path, default=rows.RESULTS, help="folder of the results")
    args = parser.parse_args(words)
    rows.RESULTS = args.results
    try:
        plan = read_plan(args.plan)
    except (OSError, PlanError) as error:
        parser.error(str(error))
    runner = Runner(plan, args.work.resolve(), args.only)
    if args.list:
        list_jobs(runner)
        return 0
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: runner.stop())
    runner.run(args.workers)
    if runner.failed:
        _say(f"{len(runner.failed)} failed: {', '.join(runner.failed)}")
    elif runner.stopped.is_set():
        _say("stopped; the same command goes on")
    elif waiting := [job.name for job in runner.pending()]:
        _say(
            f"{count_of(len(waiting), 'job')} not run, because --only leaves out what comes before: "
            f"{', '.join(waiting)}"
        )
    return 1 if runner.failed else 130 if runner.stopped.is_set() else 0


if __name__ == "__main__":
    sys.exit(main())
