#!/usr/bin/env python
"""Time and memory to load the records of a large annotation file: lt_det against Detectron2.

Each process does what a training does: it reads the file, drops images without annotations, computes repeat factors and
keeps the records as its data loader would. lt_det runs twice, without and with its record cache. Memory is the sum of
the processes' PSS (proportional set size), in which a page shared by several processes counts once.

python benchmarks/reading.py                                       # the size of LVIS v1: half an hour, 8 GB
python benchmarks/reading.py --images 25000 --detectron2 1 4       # a quarter of it; 1 and 4 processes of both
python benchmarks/reading.py --json lvis_v1_train.json             # your own file
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lt_det.io.options import Collected

NAME = "generated_v1_train"
SAMPLED = 500  # records per process, to time access


def work(kind, json_file):
    """One process: load the records, print seconds per record and CPU seconds, and wait for standard input to end."""
    import numpy as np
    from detectron2.data import get_detection_dataset_dicts
    from detectron2.data.common import DatasetFromList
    from detectron2.data.datasets import register_lvis_instances
    from detectron2.data.samplers import RepeatFactorTrainingSampler

    from lt_det.data import training_stats
    from lt_det.data.cache.records import load_records
    from lt_det.data.sampling.repeat_factors import repeat_factor_sampler
    from lt_det.statistics.buckets import FrequencyBuckets

    register_lvis_instances(NAME, {}, json_file, "images/")
    print("start", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    if kind == "lt_det":
        buckets = FrequencyBuckets.from_edges(training_stats([NAME]))
        records = load_records(NAME)
        repeat_factor_sampler(records, 0.001, buckets)
    else:
        dictionaries = get_detection_dataset_dicts(NAME)
        RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(dictionaries, 0.001)
        records = DatasetFromList(dictionaries, copy=False)
        del dictionaries
    spent = time.process_time() - before
    sampled = np.random.default_rng(0).permutation(len(records))[:SAMPLED].tolist()
    start = time.process_time()
    for index in sampled:
        records[index]
    print((time.process_time() - start) / SAMPLED, spent, flush=True)
    sys.stdin.readline()


def pss(workers):
    """PSS of all processes together, in megabytes."""
    total = 0
    for worker in workers:
        lines = Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(kind, json_file, processes, cache):
    """Wall and CPU seconds, megabytes at the peak and when all processes are ready, and seconds per record."""
    command = [sys.executable, "-W", "ignore", __file__, "--work", kind, "--json", str(json_file)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "LT_DET_CACHE": str(cache)}
    workers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(processes)]
    try:
        for worker in workers:
            worker.stdout.readline()
        imports = pss(workers)
        start, peak, printed = time.monotonic(), 0.0, {}
        for worker in workers:
            worker.stdin.write("\n")
            worker.stdin.flush()
            os.set_blocking(worker.stdout.fileno(), False)
        while len(printed) < processes:
            if any(worker.poll() is not None for worker in workers):
                raise SystemExit(f"A {kind} process has ended; see its output above.")
            before = time.monotonic()
            peak = max(peak, pss(workers))
            printed |= {w.pid: line for w in workers if w.pid not in printed and (line := w.stdout.readline())}
            time.sleep(0.1 + 9 * (time.monotonic() - before))  # reading PSS is slow: the kernel walks all pages
        seconds = time.monotonic() - start
        numbers = [list(map(float, line.split())) for line in printed.values()]
        per_record, cpu = (sum(column) for column in zip(*numbers, strict=True))
        return seconds, cpu, peak - imports, pss(workers) - imports, per_record / processes
    finally:
        for worker in workers:
            worker.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, help="images in the generated file (default: as many as LVIS v1)")
    parser.add_argument("--json", type=Path, help="annotation file in LVIS format, in place of a generated one")
    parser.add_argument(
        "--detectron2",
        type=int,
        nargs="*",
        action=Collected,
        default=[1],
        help="numbers of processes; each needs 8 GB at full size",
    )
    parser.add_argument(
        "--lt-det", "--ours", type=int, nargs="*", action=Collected, default=[1, 4], help="numbers of processes"
    )
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, str(args.json))
        return

    from lvis_json import IMAGES, write_lvis_json
    from rich.console import Console
    from rich.table import Table

    with tempfile.TemporaryDirectory() as folder:
        json_file = args.json or Path(folder, "train.json")
        if args.json is None:
            write_lvis_json(json_file, args.images or IMAGES)
        records = 0
        rows = [("Detectron2", n, measure("Detectron2", json_file, n, folder)) for n in args.detectron2]
        for n in args.lt_det:
            cache = Path(folder, f"cache{n}")
            rows += [
                (name, n, measure("lt_det", json_file, n, cache)) for name in ("lt_det, no cache", "lt_det, cached")
            ]
            for file in cache.glob("*.records"):
                records = file.stat().st_size
                file.unlink()
        sizes = f"{json_file.stat().st_size / 1e9:.2f} GB of json, {records / 1e9:.2f} GB of records"
    table = Table(title=f"{sizes}; memory beyond that of the imports")
    for column in ("", "processes", "seconds", "CPU s", "peak MB", "ready MB", "ms / record", "time, peak, memory"):
        table.add_column(column, justify="left" if not column else "right")
    for name, n, figures in rows:
        seconds, cpu, peak, rest, per_record = figures
        reference = next((values for other, m, values in rows if other == "Detectron2" and m == n), None)
        ratios = "" if reference is None else ", ".join(f"{figures[i] / reference[i]:.3f}" for i in (0, 2, 3))
        columns = (f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:.0f}", f"{rest:.0f}", f"{1000 * per_record:.3f}", ratios)
        table.add_row(name, str(n), *columns)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
