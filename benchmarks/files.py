#!/usr/bin/env python
"""Time and memory of evaluating files: `lt-det evaluate` against `lvis` and `hotcoco`, from the command to the metrics.

Each runs in its own process on the same generated files, with the class counts of LVIS v1; its start is included.

python benchmarks/files.py                     # 500 and 2000 images, and 19809 without lvis
python benchmarks/files.py --images 200 --large 500
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from evaluation import class_counts, generate
from rich.console import Console
from rich.table import Table

from lt_det.io.options import Collected

# The peak that the kernel reports to a parent starts at the parent's own, so the child reads it.
PEAK = """
import atexit
atexit.register(lambda: print(*[line for line in open("/proc/self/status") if line.startswith("VmHWM")]))
"""
PROGRAMS = {
    "lt_det": """
import sys
sys.argv = ["lt-det", "evaluate", "--gt", sys.argv[1], "--results", sys.argv[2]]
from lt_det.cli import main
sys.exit(main())
""",
    "lvis": """
import sys
import numpy
numpy.float = float  # lvis 0.5.3 uses it, NumPy removed it
from lvis import LVISEval
evaluation = LVISEval(sys.argv[1], sys.argv[2], "bbox")
evaluation.run()
evaluation.print_results()
""",
    "hotcoco": """
import sys
from hotcoco import LVIS, LVISEval, LVISResults
truth = LVIS(sys.argv[1])
LVISEval(truth, LVISResults(truth, sys.argv[2]), "bbox").run()
""",
}


def write_files(folder, num_images):
    """A ground truth and a results file."""
    truth, found = generate(class_counts(), num_images)
    (folder / "truth.json").write_text(json.dumps(truth))
    columns = [column.tolist() for column in (found.images + 1, found.classes + 1, found.boxes, found.scores)]
    with (folder / "results.json").open("w") as file:
        for index, (image, category, box, score) in enumerate(zip(*columns, strict=True)):
            detection = {"image_id": image, "category_id": category, "bbox": box, "score": score}
            file.write((", " if index else "[") + json.dumps(detection))
        file.write("]")


def measure(program, folder):
    """CPU seconds and megabytes at the peak."""
    command = [sys.executable, "-W", "ignore", "-c", PEAK + PROGRAMS[program], "truth.json", "results.json"]
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        said.seek(0)
        if status or "AP" not in (text := said.read()):
            sys.exit(f"{program} failed: {text}")
    return usage.ru_utime + usage.ru_stime, int(text.split("VmHWM:")[1].split()[0]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", action=Collected, default=[500, 2000], help="for all")
    parser.add_argument("--large", type=int, nargs="*", action=Collected, default=[19809], help="not for lvis")
    args = parser.parse_args()
    table = Table(title="From files to LVIS bbox metrics, 300 detections an image, CPU seconds on one core")
    for column in ("", "images", "results, MB", "seconds", "peak MB", "seconds / lt_det", "MB / lt_det"):
        table.add_column(column, justify="left" if not column else "right")
    for num_images in (*args.images, *args.large):
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), num_images)
            size = f"{os.path.getsize(Path(folder, 'results.json')) / 1e6:.0f}"
            ours = measure("lt_det", folder)
            for program in PROGRAMS:
                if not importlib.util.find_spec(program) or (program == "lvis" and num_images in args.large):
                    continue
                seconds, memory = ours if program == "lt_det" else measure(program, folder)
                ratios = f"{seconds / ours[0]:.2f}", f"{memory / ours[1]:.2f}"
                table.add_row(program, str(num_images), size, f"{seconds:.1f}", f"{memory:.0f}", *ratios)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
