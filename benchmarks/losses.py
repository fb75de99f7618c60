#!/usr/bin/env python
"""Time and memory of every loss against Detectron2's stock parts, as ratios measured in one run.

The sigmoid losses are measured twice: by their formula, and by the fast path of lt_det/losses/_fused_sigmoid.py.

python benchmarks/losses.py                 # 4096 RoIs x 1203 classes, forward and backward
python benchmarks/losses.py --device cuda   # the fast path too, which is off there
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from lt_det.losses import LOSSES, _fused_sigmoid, build_loss, plain_formulas
from lt_det.statistics.class_stats import ClassStats

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own log


def seconds(step, device):
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(step, device):
    """Most memory held at once during a step beyond what was there before."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def operations(value):
    """Names of the operations that a value came from."""
    names, functions = "", [value.grad_fn]
    while functions:
        function = functions.pop()
        names += function.name()
        functions += [parent for parent, _ in function.next_functions if parent is not None]
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rois", type=int, default=4096)
    parser.add_argument("--classes", type=int, default=1203)
    parser.add_argument("--repeats", type=int, default=31)
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    counts = np.geomspace(1, 50_000, args.classes).astype(np.int64)
    stats = ClassStats(tuple(map(str, range(args.classes))), counts, counts, 100_000, "benchmark")
    labels = torch.randint(0, args.classes, (args.rois,), device=args.device)
    labels[torch.rand(args.rois, device=args.device) < 0.75] = args.classes
    targets = F.one_hot(labels, args.classes + 1).float()
    features = torch.rand(args.rois, 1024, device=args.device)

    def random_logits(columns, cosines=False):
        z = torch.randn(args.rois, columns, device=args.device)
        return (z.clamp(-1, 1) if cosines else z).requires_grad_()

    logits = random_logits(args.classes + 1)
    steps = {
        "F.cross_entropy": (logits, lambda z: F.cross_entropy(z, labels)),
        "F.binary_cross_entropy_with_logits": (logits, lambda z: F.binary_cross_entropy_with_logits(z, targets)),
    }
    variants = {name: (name, {}) for name in LOSSES}
    variants |= {f"class_balanced ({base})": ("class_balanced", {"base": base}) for base in ("sigmoid", "focal")}
    variants["ib"] = ("ib", {"alpha": 1.0})
    _fused_sigmoid._DEVICES.add(args.device)
    for name, (registered, hyperparameters) in variants.items():
        loss = build_loss(registered, stats, **hyperparameters).to(args.device)
        loss.progress = 1.0  # the last phase, where a loss has several
        z = random_logits(loss.num_logits, cosines=loss.scales_cosines)

        def fast(z, loss=loss):
            return loss(z, labels, features)

        def plain(z, fast=fast):
            with plain_formulas():
                return fast(z)

        if "FusedRows" in operations(fast(z)):
            steps[f"{name}, formula"] = (z, plain)
            steps[f"{name}, fast path"] = (z, fast)
        else:
            steps[name] = (z, plain)

    def step_of(z, forward):
        def step():
            z.grad = None
            forward(z).backward()

        return step

    memory, times = {}, {name: [] for name in steps}
    for name, (z, forward) in steps.items():
        step = step_of(z, forward)
        step()  # warm up
        memory[name] = peak_bytes(step, args.device) / (z.numel() * z.element_size())
    for _ in range(args.repeats):  # in turns, so that other load on the machine affects all of them
        for name, (z, forward) in steps.items():
            times[name].append(seconds(step_of(z, forward), args.device))
    median = {name: statistics.median(times[name]) for name in steps}

    stock = list(steps)[:2]
    table = Table(title=f"{args.rois} x {args.classes + 1} logits, forward + backward, {args.device}, one thread")
    for column in ("", "ms", *(f"/ {name.split('.')[1]}" for name in stock), "peak memory / logits"):
        table.add_column(column, justify="left" if not column else "right")
    for name in steps:
        ratios = [f"{median[name] / median[reference]:.2f}" for reference in stock]
        table.add_row(name, f"{1000 * median[name]:.1f}", *ratios, f"{memory[name]:.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
