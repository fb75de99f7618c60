"""`torch.compile` of every loss against the loss as it is: time of forward and backward, and the parts of the graph.

Without a GPU the graphs are run as they are captured, by the backend "eager", which shows only that they can be.
"""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.gpu import measure
from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from benchmarks.gpu.stages.losses import REFERENCE, Case, cases

# In the order of their worth, in case the time runs out. Small: two, because a capture takes seconds on the CPU.
FIRST = ("eql", "seesaw", "eqlv2", "softmax", "sigmoid", "focal", "ldam", "logit_adjustment")
SMALL = ("eql", "seesaw")


def main() -> None:
    rois, classes, rounds = (64, 40, 1) if is_small() else (4096, 1203, 31)
    made = cases(rois, classes, torch.float32)
    made.pop(REFERENCE)
    names = SMALL if is_small() else sorted(made, key=lambda name: (name not in FIRST, name))
    failed = []
    for name in names:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        case = made[name]
        compiled = Case(torch.compile(case.loss, backend="inductor" if device() == "cuda" else "eager"), case.logits)
        start = time.perf_counter()
        try:
            compiled.step()
            measure.synchronize(device())
        except Exception as error:  # of one loss; the others are still measured
            write_figures("compile", name, error=str(error).splitlines()[0][:200])
            failed.append(name)
            continue
        seconds = time.perf_counter() - start
        times: dict[str, list[float]] = {"as it is": [], "compiled": []}
        for _ in range(rounds + 1):
            for key, one in (("as it is", case), ("compiled", compiled)):
                times[key].append(measure.seconds(one.step, device()))
        plain, fast = (statistics.median(values[1:]) for values in times.values())
        peaks = []
        for one in (case, compiled):
            one.forget()
            peaks.append(measure.peak_bytes(one.step, device()))
        write_figures(
            "compile",
            name,
            graphs=torch._dynamo.utils.counters["stats"]["unique_graphs"],
            compilation_seconds=seconds,
            milliseconds=1000 * plain,
            compiled_milliseconds=1000 * fast,
            time_ratio=fast / plain,
            memory_ratio=measure.ratio(peaks[1], peaks[0]),
        )
    require(not failed, f"torch.compile failed for {', '.join(failed)}")


if __name__ == "__main__":
    main()
