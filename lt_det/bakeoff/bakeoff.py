"""A whole bake-off: features, candidates, choice, and the detector that is written."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from lt_det.bakeoff.candidates import Candidate, applicable, full, quick, read_candidates
from lt_det.bakeoff.detector import detector_config
from lt_det.bakeoff.features.extraction import compute_features
from lt_det.bakeoff.features.options import FeatureOptions
from lt_det.bakeoff.fitting import describe_classes
from lt_det.bakeoff.options import BakeoffOptions
from lt_det.bakeoff.pool import run_trials
from lt_det.bakeoff.results import build_bakeoff
from lt_det.bakeoff.trials import Trials
from lt_det.bakeoff.writing import WEIGHTS_NAME, evaluate_written, write_detector
from lt_det.errors import LtDetError
from lt_det.evaluation.bakeoff_schema import Bakeoff, Written, write_bakeoff
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import Task
from lt_det.io.atomic import check_folder
from lt_det.io.lock import folder_lock
from lt_det.reporting.bakeoff import write_bakeoff_page
from lt_det.training.preflight import check_heads

logger = logging.getLogger(__name__)

FEATURES, TRIALS, DETECTOR = "features", "trials", "detector"  # folders in that of the results


def run_bakeoff(
    cfg: Any,
    options: BakeoffOptions | None = None,
    *,
    on_result: Callable[[Bakeoff], None] = lambda bakeoff: None,
    track: Callable[[str], Track] = lambda step: iter,
) -> Bakeoff:
    """Train the classifier of a frozen detector with every candidate, evaluate each, and recommend one.

    ``bakeoff.json`` is written after each candidate. A second call with the same folder goes on where the first one
    was interrupted, and computes nothing twice.

    Args:
        cfg: the detector's config with its MODEL.WEIGHTS; its datasets are registered (`load_config` does so).
        options: see `BakeoffOptions`; None for its defaults.
        on_result: called with all that is known after each candidate.
        track: for the name of a step, what wraps its loop to show progress.

    Raises:
        LtDetError: config, checkpoint, data, candidates or folder cannot be used, or another bake-off uses the folder.
    """
    options = options or BakeoffOptions()
    return _Run(cfg, options, options.folder(cfg.OUTPUT_DIR), on_result).run(track)


class _Run:
    """A bake-off that is running."""

    def __init__(self, cfg: Any, options: BakeoffOptions, folder: Path, on_result: Callable[[Bakeoff], None]) -> None:
        _check(cfg)
        self._cfg, self._options, self._folder, self._on_result = cfg, options, folder, on_result
        self._candidates = _candidates(cfg, options)
        self._failed: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._remarks: list[str] = []
        self._written: Written | None = None
        self._trials: Trials | None = None

    def run(self, track: Callable[[str], Track]) -> Bakeoff:
        check_folder(self._folder, "The folder of the bake-off")
        with folder_lock(self._folder, "bake-off"):
            try:
                bakeoff = self._compute(track)
            except KeyboardInterrupt:
                unfinished = self._save() if self._trials else None
                if unfinished is None:
                    raise
                bakeoff = unfinished
            write_bakeoff_page(bakeoff, self._folder)
        return bakeoff

    def _compute(self, track: Callable[[str], Track]) -> Bakeoff:
        features, folder = self._folder / FEATURES, self._folder / TRIALS
        with self._timed("features"):
            compute_features(
                self._cfg,
                features,
                FeatureOptions(passes=self._options.passes),
                num_processes=self._options.num_processes,
                track=track("Features"),
            )
        self._trials = trials = Trials(self._cfg, self._options, features, folder)
        self._remarks = describe_classes(trials.cache.rois(), trials.folds, trials.stats.names)
        finished = run_trials(self._cfg, self._options, features, folder, self._candidates, trials)
        with self._timed("candidates"):
            for _, (candidate, failure) in zip(
                track("Candidates")(range(len(self._candidates))), finished, strict=True
            ):
                if failure is not None:
                    logger.warning("%s: %s", candidate.name, failure)
                    self._failed[candidate.name] = failure
                bakeoff = self._save()
        if bakeoff is None:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._failed.items())
            raise LtDetError(f"No candidate could be evaluated. {reasons}")
        with self._timed("writing"):
            self._write(bakeoff)
        return self._save() or bakeoff

    def _save(self) -> Bakeoff | None:
        """Write and report what is known so far."""
        assert self._trials is not None
        bakeoff = build_bakeoff(
            self._trials,
            self._candidates,
            failed=self._failed,
            remarks=self._remarks,
            seconds=self._seconds,
            device=_device(self._cfg),
            written=self._written,
        )
        if bakeoff is not None:
            write_bakeoff(bakeoff, self._folder)
            self._on_result(bakeoff)
        return bakeoff

    def _write(self, bakeoff: Bakeoff) -> None:
        """Write the detector with the classifier that the user names, or the recommended one."""
        name = self._options.write or bakeoff.recommendation.name
        candidate = next((one for one in self._candidates if one.name == name), None)
        if candidate is None or not bakeoff.entry(candidate.name).finished:
            return
        assert self._trials is not None
        classifiers = self._trials.classifiers(candidate)
        candidate_cfg = candidate.config(self._trials.cfg)
        config = write_detector(self._cfg, candidate_cfg, classifiers, self._folder / DETECTOR)
        metrics: Mapping[Task, Mapping[str, float]] = {}
        if self._cfg.MODEL.MASK_ON:  # mask AP needs the whole detector
            metrics = cast("Mapping[Task, Mapping[str, float]]", evaluate_written(config, bakeoff.dataset))
        self._written = Written(
            name=candidate.name,
            config=str(config),
            checkpoint=str(config.with_name(f"{WEIGHTS_NAME}.pth")),
            metrics={
                task: {name: None if math.isnan(value) else value for name, value in found.items()}
                for task, found in metrics.items()
            },
        )

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] = time.perf_counter() - start


def _check(cfg: Any) -> None:
    """
    Raises:
        LtDetError: no checkpoint, or not exactly one dataset to train and to evaluate on.
    """
    check_heads(cfg)
    if not cfg.MODEL.WEIGHTS:
        raise LtDetError("A bake-off needs a trained detector; set MODEL.WEIGHTS to its checkpoint.")
    for key, what in (("TRAIN", "to train on"), ("TEST", "to evaluate on")):
        names = tuple(cfg.DATASETS[key])
        if len(names) != 1:
            raise LtDetError(
                f"A bake-off needs one dataset {what}, but DATASETS.{key} is {names}; name one, or join the annotation "
                "files into one."
            )


def _candidates(cfg: Any, options: BakeoffOptions) -> list[Candidate]:
    """The candidates, the retrained baseline first, so that the others can be compared as they finish.

    Raises:
        LtDetError: a mistake in the user's file, a candidate that does not go with the detector, or no candidate of the
            name to write.
    """
    lists = {"quick": quick, "full": full}
    ours = detector_config(cfg)
    if options.candidates in lists:
        usable, left_out = applicable(lists[options.candidates](), ours)
        for name, reason in left_out.items():
            logger.info("%s is left out: %s", name, reason)
    else:
        usable = read_candidates(options.candidates, ours)
    if options.write is not None and options.write not in [candidate.name for candidate in usable]:
        names = ", ".join(candidate.name for candidate in usable)
        raise LtDetError(f"--write is '{options.write}', but the candidates are: {names}.")
    return sorted(usable, key=lambda candidate: candidate.kind != "retrained")


def _device(cfg: Any) -> str:
    """What the bake-off runs on, in words."""
    if cfg.MODEL.DEVICE.startswith("cuda"):
        return str(torch.cuda.get_device_name(cfg.MODEL.DEVICE))
    return f"{platform.processor() or platform.machine()} CPU, {os.cpu_count()} cores"
