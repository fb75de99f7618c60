"""The datasets, the size of a box head, and how time and memory are measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from lt_det.statistics.class_stats import ClassStats

DATASETS = {"Objects365": 365, "Open Images": 500, "LVIS v1": 1203, "V3Det": 13_204}
FEATURES = 1024  # of the box head of an FPN detector
ROIS, FOREGROUND = 512, 128  # per training image, Detectron2's default

Step = Callable[[], object]


def long_tail(num_classes: int) -> ClassStats:
    """From 50,000 images of the most frequent class down to one of the rarest."""
    counts = np.geomspace(50_000, 1, num_classes).astype(np.int64)
    return ClassStats(tuple(map(str, range(num_classes))), counts, counts, 100_000, "synthetic")


def seconds_in_turns(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each step, after one to warm up; in turns, so that other load affects all."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if number:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}
