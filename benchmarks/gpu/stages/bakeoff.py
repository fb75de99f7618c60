"""A bake-off on mini_lvis: features of a detector that was trained for a moment, and candidates trained on them.

The detections of the detector's own classifier, computed from the cache, give the AP of ``--eval-only``.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from benchmarks.gpu.training import Trainer, build, mini_lvis_config, train
from lt_det.bakeoff.candidates.builtin import AS_IS, quick
from lt_det.bakeoff.features.extraction import compute_features
from lt_det.bakeoff.options import BakeoffOptions
from lt_det.bakeoff.pool import run_trials
from lt_det.bakeoff.trials import Trials

# Small images with few proposals, which find nothing, but pass through every step.
SMALL = ("INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TEST", 48, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16)
SMALL += ("MODEL.RPN.POST_NMS_TOPK_TEST", 20)
CANDIDATES = ("as it is", "retrained", "seesaw", "ib")
TOLERANCE = 0.0 if device() == "cpu" else 0.5  # AP in percent


def main() -> None:
    iterations, steps = (2, 5) if is_small() else (150, 200)
    overrides = ("DATASETS.TEST", ("mini_lvis_val",), *(SMALL if is_small() else ()))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cfg = mini_lvis_config(folder / "detector", iterations, *overrides)
        trainer = build(Trainer, cfg)
        train(trainer)
        own = trainer._last_eval_results["bbox"]["AP"]
        write_figures("bakeoff", "detector", iterations=iterations, bbox_ap=own)
        cfg.defrost()
        cfg.MODEL.WEIGHTS = str(folder / "detector" / "model_final.pth")
        options = BakeoffOptions(seeds=1, folds=2, steps=steps)
        start = time.perf_counter()
        compute_features(cfg, folder / "features", max_training_images=40 if is_small() else 200)
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in (folder / "features").rglob("*") if file.is_file())
        write_figures("bakeoff", "features", seconds=seconds, megabytes=size / 1e6)
        trials = Trials(cfg, options, folder / "features", folder / "trials")
        failures = []
        for candidate in [one for one in quick() if one.name in (CANDIDATES[:2] if is_small() else CANDIDATES)]:
            start = time.perf_counter()
            ((_, failure),) = run_trials(cfg, options, trials, [candidate])
            seconds = time.perf_counter() - start
            if failure is not None:
                failures.append(f"{candidate.name}: {failure}")
                write_figures("bakeoff", candidate.name, seconds=seconds, error=failure)
                continue
            trial = trials.finished(candidate)["seed_0"]
            ap = trial.evaluation.tasks["bbox"].metrics["AP"]
            write_figures(
                "bakeoff", candidate.name, seconds=seconds, training_seconds=trial.seconds, bbox_ap=ap, detector_ap=own
            )
            if candidate == AS_IS and not math.isclose(ap, own, rel_tol=0, abs_tol=TOLERANCE):
                failures.append(f"from the cache the detector has AP {ap:.3g}, but {own:.3g} from its images")
        require(not failures, "; ".join(failures))


if __name__ == "__main__":
    main()
