"""A whole training step of configs/lvis_eql.yaml against stock Detectron2: time and peak memory.

Trainer, loader, network, optimizer and hooks are those of a training; images, seed and batch are the same for all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from benchmarks.gpu.measure import ratio
from benchmarks.gpu.synthetic_lvis import lvis_config, write_synthetic_lvis
from benchmarks.gpu.training import STOCK, StockTrainer, Trainer, build, median_seconds, train

# The stock trainer comes first and last: the two show how far the machine drifts.
CASES = {
    f"{STOCK}, softmax": (StockTrainer, "lvis_softmax", ("MODEL.ROI_HEADS.NAME", "StandardROIHeads")),
    "lt_det, EQL": (Trainer, "lvis_eql", ()),
    "lt_det, softmax": (Trainer, "lvis_softmax", ()),
    f"{STOCK}, softmax, again": (StockTrainer, "lvis_softmax", ("MODEL.ROI_HEADS.NAME", "StandardROIHeads")),
}


def main() -> None:
    warm_up, steps = (0, 1) if is_small() else (5, 15)
    counted = warm_up + steps  # one more, and the last one, in which hooks write the log
    reference = None
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary, "data")
        write_synthetic_lvis(data, 4 if is_small() else 32)
        for case, (trainer_class, name, overrides) in CASES.items():
            if device() == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            cfg = lvis_config(data, Path(temporary, "out"), name, counted + 2, *overrides)
            iterations = train(build(trainer_class, cfg), save=False, counted=counted)
            seconds = median_seconds(iterations[:counted], warm_up)
            peak = torch.cuda.max_memory_allocated() if device() == "cuda" else None
            reference = reference or (seconds, peak)
            measured = iterations[warm_up:counted]
            write_figures(
                "step",
                case,
                images=cfg.SOLVER.IMS_PER_BATCH,
                milliseconds=1000 * seconds,
                time_ratio=seconds / reference[0],
                waiting_for_data=sum(i.data_seconds for i in measured) / sum(i.seconds for i in measured),
                peak_megabytes=None if peak is None else peak / 1e6,
                memory_ratio=ratio(peak, reference[1]),
                host_synchronizations=iterations[counted].host_synchronizations,
                first_loss_cls=iterations[0].losses["loss_cls"],
            )
            require(
                all(torch.tensor(list(i.losses.values())).isfinite().all() for i in iterations),
                f"{case}: a loss is not finite: {[i.losses for i in iterations]}",
            )


if __name__ == "__main__":
    main()
