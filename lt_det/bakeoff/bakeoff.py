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

from lt_det.bakeoff.candidates import Candidate, applicable, read_candidates
from lt_det.bakeoff.candidates.reading import BUILTIN
from lt_det.bakeoff.detector import detector_config
from lt_det.bakeoff.diagnosis.diagnose import diagnose
from lt_det.bakeoff.features.extraction import compute_features
from lt_det.bakeoff.fitting import describe_classes
from lt_det.bakeoff.options import FEATURES, BakeoffOptions
from lt_det.bakeoff.pool import run_trials
from lt_det.bakeoff.results import build_bakeoff
from lt_det.bakeoff.trials import Trials
from lt_det.bakeoff.writing import WEIGHTS_NAME, evaluate_written, write_detector
from lt_det.errors import LtDetError
from lt_det.evaluation.bakeoff_schema import Bakeoff, Written, write_bakeoff
from lt_det.evaluation.diagnosis_schema import Diagnosis
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import Task
from lt_det.io.atomic import check_folder
from lt_det.io.lock import folder_lock
from lt_det.reporting.bakeoff import write_bakeoff_page
from lt_det.training.preflight import check_datasets, check_heads, training_stats_of

logger = logging.getLogger(__name__)

TRIALS, DETECTOR = "trials", "detector"  # folders in that of the results


def run_bakeoff(
    cfg: Any,
    options: BakeoffOptions | None = None,
    *,
    on_result: Callable[[Bakeoff], None] = lambda bakeoff: None,
    track: Callable[[str], Track] = lambda step: iter,
) -> Bakeoff:
    """Train the classifier of a frozen detector with every candidate, evaluate each, and recommend one.

    ``bakeoff.json`` is written after each candidate. A second call with the same folder goes on where the first one
    was interrupted, and trains nothing twice.

    Args:
        cfg: the detector's config with its MODEL.WEIGHTS; its datasets are registered (`load_config` does so).
        options: see `BakeoffOptions`; None for its defaults.
        on_result: called with all that is known after each candidate.
        track: for the name of a step, what wraps its loop to show progress.

    Raises:
        LtDetError: config, checkpoint, data, candidates or folder cannot be used, or another bake-off uses the folder.
    """
    options = options or BakeoffOptions()
    return _Session(cfg, options, options.folder(cfg.OUTPUT_DIR), on_result).work(track)


class _Session:
    """One call of `run_bakeoff`."""

    def __init__(self, cfg: Any, options: BakeoffOptions, folder: Path, on_result: Callable[[Bakeoff], None]) -> None:
        _check(cfg)
        self._cfg, self._options, self._folder, self._on_result = cfg, options, folder, on_result
        self._candidates = _candidates(cfg, options)
        self._failed: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._remarks: list[str] = []
        self._written: Written | None = None
        self._interrupted = False

    def work(self, track: Callable[[str], Track]) -> Bakeoff:
        check_folder(self._folder, "The folder of the bake-off")
        with folder_lock(self._folder, "bake-off"):
            self._trials = self._compute_features(track("Features"))
            self._remarks = describe_classes(self._trials.cache.rois(), self._trials.folds, self._trials.stats.names)
            diagnosis = None
            try:
                self._train(track("Candidates"))
                self._write()
                diagnosis = self._diagnose(track("Diagnosis"))
            except KeyboardInterrupt:
                self._interrupted = True
            finally:  # also after an error: what is finished is shown
                bakeoff = self._save()
                if bakeoff is not None:
                    write_bakeoff_page(bakeoff, self._folder, diagnosis)
        if bakeoff is None and self._interrupted:
            raise KeyboardInterrupt
        if bakeoff is None:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._failed.items())
            raise LtDetError(f"No candidate could be evaluated. {reasons}")
        return bakeoff

    def _compute_features(self, track: Track) -> Trials:
        features, options = self._folder / FEATURES, self._options
        threads = torch.get_num_threads()
        with self._timed("features"):
            compute_features(
                self._cfg,
                features,
                passes=options.passes,
                dtype=options.dtype,
                max_rois=options.max_rois,
                max_training_images=options.max_training_images,
                num_processes=options.num_processes,
                track=track,
            )
        torch.set_num_threads(threads)  # data loader workers have had some of them
        return Trials(self._cfg, options, features, self._folder / TRIALS)

    def _train(self, track: Track) -> None:
        unfinished = [one for one in self._candidates if not self._trials.is_finished(one)]
        if len(unfinished) < len(self._candidates):
            self._save()
        results = run_trials(self._cfg, self._options, self._trials, unfinished)
        with self._timed("candidates"):
            for _, (candidate, failure) in zip(track(range(len(unfinished))), results, strict=True):
                if failure is not None:
                    logger.warning("%s: %s", candidate.name, failure)
                    self._failed[candidate.name] = failure
                self._save()

    def _diagnose(self, track: Track) -> Diagnosis | None:
        """What the features say about the detector; a page without it is better than no page."""
        try:
            return diagnose(self._cfg, self._trials.cache, test=self._cfg.DATASETS.TEST[0], track=track)
        except LtDetError as error:
            logger.warning("The page has no diagnosis of the detector: %s", error)
            return None

    def _save(self) -> Bakeoff | None:
        """Write and report what is known so far."""
        bakeoff = build_bakeoff(
            self._trials,
            self._candidates,
            failed=self._failed,
            remarks=self._remarks,
            seconds=self._seconds,
            device=_device(self._cfg),
            written=self._written,
            interrupted=self._interrupted,
        )
        if bakeoff is not None:
            write_bakeoff(bakeoff, self._folder)
            self._on_result(bakeoff)
        return bakeoff

    def _write(self) -> None:
        """Write the detector with the classifier that the user names, or the recommended one.

        Raises:
            LtDetError: the one that the user names has failed, or the detector cannot be written.
        """
        bakeoff = self._save()
        name = self._options.write or (bakeoff.recommendation.name if bakeoff else None)
        if name in self._failed:
            raise LtDetError(f"--write is '{name}', which has failed, so no detector is written: {self._failed[name]}")
        candidate = next((one for one in self._candidates if one.name == name), None)
        if candidate is None or bakeoff is None:
            return
        with self._timed("writing"):
            store = self._trials.store
            classifiers = store.read_classifiers(candidate, "seed_0")
            config = write_detector(self._cfg, candidate.config(self._trials.cfg), classifiers, self._folder / DETECTOR)
            metrics = store.read_written(candidate)
            if self._cfg.MODEL.MASK_ON and metrics is None:  # mask AP needs the whole detector
                evaluated = cast("Mapping[Task, Mapping[str, float]]", evaluate_written(config, bakeoff.dataset))
                metrics = {
                    task: {name: None if math.isnan(value) else value for name, value in found.items()}
                    for task, found in evaluated.items()
                }
                store.keep_written(candidate, metrics)
        self._written = Written(
            name=candidate.name,
            config=str(config),
            checkpoint=str(config.with_name(f"{WEIGHTS_NAME}.pth")),
            metrics=metrics or {},
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
        LtDetError: no checkpoint, not exactly one dataset to train and to evaluate on, or one that lacks
            annotations or class counts.
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
    datasets = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    check_datasets(datasets)
    training_stats_of(cfg)


def _candidates(cfg: Any, options: BakeoffOptions) -> list[Candidate]:
    """The candidates, the retrained baseline first, so that the others can be compared as they finish.

    Raises:
        LtDetError: a mistake in the user's file, a candidate that does not go with the detector, or no candidate of the
            name to write.
    """
    ours = detector_config(cfg)
    if options.candidates in BUILTIN:
        usable, left_out = applicable(BUILTIN[options.candidates](), ours)
        for name, reason in left_out.items():
            logger.warning("%s is left out: %s", name, reason)
    else:
        usable = read_candidates(options.candidates, ours)
    if options.write is not None and options.write not in [candidate.name for candidate in usable]:
        names = ", ".join(f"'{candidate.name}'" for candidate in usable)
        raise LtDetError(f"--write is '{options.write}', but the candidates are: {names}.")
    return sorted(usable, key=lambda candidate: candidate.kind != "retrained")


def _device(cfg: Any) -> str:
    """What the bake-off runs on, in words."""
    if cfg.MODEL.DEVICE.startswith("cuda"):
        return str(torch.cuda.get_device_name(cfg.MODEL.DEVICE))
    return f"{platform.processor() or platform.machine()} CPU, {os.cpu_count()} cores"
