"""A training of 300 iterations on mini_lvis, with evaluation at the end."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import is_small
from benchmarks.gpu.training import Trainer, build, mini_lvis_config, train

WINDOW = 20  # iterations that a loss is averaged over


def main() -> None:
    count, warm_up = (4, 1) if is_small() else (300, 20)
    with tempfile.TemporaryDirectory() as temporary:
        cfg = mini_lvis_config(Path(temporary), count, "DATASETS.TEST", ("mini_lvis_val",))
        trainer = build(Trainer, cfg)
        start = time.perf_counter()
        iterations = train(trainer, save=False)
        seconds = time.perf_counter() - start
        losses = [iteration.losses["total_loss"] for iteration in iterations]
        first, last = statistics.mean(losses[:WINDOW]), statistics.mean(losses[-WINDOW:])
        measured = iterations[warm_up:]
        results = trainer._last_eval_results
        write_figures(
            "train",
            f"{count} iterations of {cfg.SOLVER.IMS_PER_BATCH} images",
            seconds=seconds,
            milliseconds=1000 * statistics.median(iteration.seconds for iteration in measured),
            waiting_for_data=sum(i.data_seconds for i in measured) / sum(i.seconds for i in measured),
            first_loss=first,
            last_loss=last,
            **{f"bbox_{name.lower()}": results["bbox"][name] for name in ("AP", "APr", "APc", "APf")},
        )
        require(all(map(math.isfinite, losses)), "a loss is not finite")
        require(is_small() or last < first, f"the loss rose from {first:.3g} to {last:.3g}")


if __name__ == "__main__":
    main()
