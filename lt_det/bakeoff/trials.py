"""Train and evaluate one candidate on each fold and on all training images, or evaluate it as it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

import lt_det
from lt_det.bakeoff.adjusting import adjusted_classifiers
from lt_det.bakeoff.cache.cache import FeatureCache
from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.candidates import Candidate
from lt_det.bakeoff.detector import Classifiers, detector_config
from lt_det.bakeoff.fitting import (
    DivergedError,
    FitOptions,
    Fitted,
    best_learning_rate,
    fit,
    fit_learning_rates,
    image_folds,
    learning_rates,
    mean_phases,
)
from lt_det.bakeoff.fitting.meta_fit import fit_meta, fit_meta_learning_rates
from lt_det.bakeoff.options import BakeoffOptions
from lt_det.bakeoff.scoring import Scorer
from lt_det.bakeoff.store import Trial, TrialStore
from lt_det.config import bucket_options, buckets_of_config
from lt_det.evaluation.bakeoff_schema import CurvePoint, TriedRate
from lt_det.evaluation.result import EvaluationResult
from lt_det.evaluation.schema import Evaluation
from lt_det.statistics.class_stats import ClassStats
from lt_det.training.preflight import training_stats_of

_T = TypeVar("_T")

# Keys of SOLVER that a training end to end reads, and a training of the classifier on cached features does not.
_OF_TRAINING_ONLY = {"MAX_ITER", "STEPS", "BASE_LR", "IMS_PER_BATCH", "CHECKPOINT_PERIOD", "MAX_TO_KEEP"}
_OF_TRAINING_ONLY |= {"ACCUMULATE", "AMP", "BEST_CHECKPOINT", "EARLY_STOPPING", "EMA"}


# Bootstrap draws on a fold, at most. Most of the time of its evaluation goes into them, and only the choice uses them.
_DRAWS_ON_FOLDS = 300


class Trials:
    """All trials on one feature cache, in one process. What is finished is read from disk.

    A candidate is trained once for each fold, on the images of the other folds, and evaluated on this fold; then, for
    each seed, on all training images, and evaluated on the evaluation set. The learning rate is chosen on the first
    fold. The steps in each phase of the trainings on all images, where no held-out image shows a plateau, are the mean
    over the folds.

    Args:
        cfg: the detector's config, with its datasets registered, one of them for training and one for evaluation.
        options: of the bake-off.
        features: folder of the finished feature cache.
        folder: of the trials.
    """

    def __init__(self, cfg: Any, options: BakeoffOptions, features: Path, folder: Path) -> None:
        self._detector_cfg = cfg
        self.cfg = detector_config(cfg)
        self.options = options
        self.cache = FeatureCache.open(features)
        self.store = TrialStore(folder, self._depends_on)

    def parts(self, candidate: Candidate) -> list[str]:
        """The names of a candidate's trials, folds first."""
        if candidate.keeps_classifier:
            return ["seed_0"]
        folds = [f"fold_{fold}" for fold in range(self.options.folds)]
        return [*folds, *(f"seed_{seed}" for seed in range(self.options.seeds))]

    def complete(self, candidate: Candidate) -> None:
        """Do the trials of a candidate that are not finished.

        Raises:
            LtDetError: the candidate cannot be trained or evaluated, or the folder cannot be written.
        """
        for part in self.parts(candidate):
            if self.store.read(candidate, part) is None:
                kind, number = part.split("_")
                if candidate.keeps_classifier:
                    self._evaluate_as_it_stands(candidate, part)
                elif kind == "fold":
                    self._train_on_other_folds(candidate, part, int(number))
                else:
                    self._train_on_all(candidate, part, int(number))

    def is_finished(self, candidate: Candidate) -> bool:
        """Whether all trials of a candidate are finished."""
        return all(self.store.read(candidate, part) is not None for part in self.parts(candidate))

    def finished(self, candidate: Candidate) -> dict[str, Trial]:
        """The finished trials of a candidate by name."""
        found = {part: self.store.read(candidate, part) for part in self.parts(candidate)}
        return {part: trial for part, trial in found.items() if trial is not None}

    @cached_property
    def stats(self) -> ClassStats:
        """Class counts of the training set."""
        return training_stats_of(self._detector_cfg)

    @cached_property
    def scorer(self) -> Scorer:
        """Evaluates on the evaluation set."""
        return self._scorer(self._detector_cfg.DATASETS.TEST[0], self._detector_cfg.TEST.RESAMPLES)

    @cached_property
    def _fold_scorer(self) -> Callable[[int], Scorer]:
        """Evaluates on the training images of a fold."""
        dataset = self._detector_cfg.DATASETS.TRAIN[0]
        scorer = self._scorer(dataset, min(_DRAWS_ON_FOLDS, self._detector_cfg.TEST.RESAMPLES), complete=False)
        position = {image_id: n for n, image_id in enumerate(self.cache.proposals(dataset).image_ids)}
        # Of a large training set, the cache has the proposals of some images only.
        of_image = np.array([position.get(image_id, -1) for image_id in self._rois[0].image_ids])
        recorded = [of_image[fold][of_image[fold] >= 0] for fold in self.folds]
        return lambda fold: scorer.of_images(recorded[fold])

    def _scorer(self, dataset: str, draws: int, complete: bool = True) -> Scorer:
        table = self.cache.proposals(dataset)
        return Scorer(
            self._detector_cfg,
            table,
            dataset,
            images=None if complete else np.arange(len(table.image_ids)),
            stats=self.stats,
            buckets=bucket_options(self._detector_cfg),
            draws=draws,
        )

    @cached_property
    def _rois(self) -> list[RoiTable]:
        return [self.cache.rois(stage) for stage in range(self.cache.num_stages)]

    @cached_property
    def folds(self) -> list[NDArray[np.int64]]:
        return image_folds(self._rois[0], self.options.folds, seed=0)

    def _fit_options(self, **options: Any) -> FitOptions:
        return FitOptions(
            steps=self.options.steps,
            batch_size=self.options.batch_size,
            device=self._detector_cfg.MODEL.DEVICE,
            **options,
        )

    def _depends_on(self, candidate: Candidate) -> dict[str, Any]:
        """What decides a candidate's numbers, besides what the candidate itself says."""
        cfg = candidate.config(self.cfg)
        node = cfg.MODEL.LONG_TAIL
        buckets = buckets_of_config(self.cfg, self.stats)
        return {
            "version": lt_det.__version__,
            "features": self.cache.key,
            "budget": [self.options.steps, self.options.batch_size, self.options.folds],
            "draws": [cfg.TEST.RESAMPLES, _DRAWS_ON_FOLDS],
            "buckets": [buckets.names, buckets.assignment.tolist()],
            "counts": [self.stats.image_counts.tolist(), np.asarray(self.stats.instance_counts).tolist()],
            "head": {
                **cfg.MODEL.ROI_HEADS,
                **node,
                "box": cfg.MODEL.ROI_BOX_HEAD,
                "cascade": cfg.MODEL.ROI_BOX_CASCADE_HEAD,
            },
            "solver": {name: value for name, value in cfg.SOLVER.items() if name not in _OF_TRAINING_ONLY},
            "sampling": [cfg.DATALOADER.REPEAT_THRESHOLD, cfg.DATALOADER.get("REPEAT_SQRT", True)],
            "detections": cfg.TEST.DETECTIONS_PER_IMAGE,
            **({} if cfg.TEST.MAX_DETS is None else {"max_dets": cfg.TEST.MAX_DETS}),
            "files": [_digest(file) for file in (node.REWEIGHTING.WEIGHTS, node.LOSS.LABEL_SMOOTHING.PRIOR)],
        }

    def _evaluate_as_it_stands(self, candidate: Candidate, part: str) -> None:
        cfg = candidate.config(self.cfg)
        classifiers = self.scorer.detector()
        if candidate.adjustment is not None:
            method, value = candidate.adjustment
            own = self.scorer.predictors
            classifiers = adjusted_classifiers(own, self.cfg, classifiers, method, [value], self.stats)[value]
        self._keep(candidate, part, self.scorer.evaluate(cfg, classifiers), classifiers)

    def _train_on_other_folds(self, candidate: Candidate, part: str, fold: int) -> None:
        held_out = self.folds[fold]
        images = np.setdiff1d(np.arange(len(self._rois[0].image_ids)), held_out)
        train: Callable[..., list[Fitted]] = fit_meta_learning_rates if candidate.meta else fit_learning_rates
        options = self._fit_options(seed=fold, held_out=held_out)

        def fit_rates(*rates: float) -> list[Fitted]:
            return train(self.cfg, candidate, self._rois, images, rates, options)

        fits = fit_rates(*learning_rates(candidate)) if fold == 0 else self._first_that_converges(candidate, fit_rates)
        rate = best_learning_rate([fits])
        best = next(one for one in fits if one.learning_rate == rate)
        result = self._fold_scorer(fold).evaluate(candidate.config(self.cfg), self._after_adjustment(candidate, best))
        tried = [TriedRate(learning_rate=one.learning_rate, held_out=one.measure) for one in fits]
        self._keep(candidate, part, result, fitted=best, rates=tried)

    def _train_on_all(self, candidate: Candidate, part: str, seed: int) -> None:
        folds = [self.store.read(candidate, f"fold_{fold}") for fold in range(self.options.folds)]
        phases = mean_phases([trial.phases for trial in folds if trial is not None])
        train: Callable[..., Fitted] = fit_meta if candidate.meta else fit
        options = self._fit_options(seed=seed, phases=phases)

        def fit_rate(rate: float) -> Fitted:
            return train(self.cfg, candidate, self._rois, None, options, learning_rate=rate)

        fitted = self._first_that_converges(candidate, fit_rate)
        classifiers = self._after_adjustment(candidate, fitted)
        result = self.scorer.evaluate(candidate.config(self.cfg), classifiers)
        self._keep(candidate, part, result, classifiers, fitted)

    def _first_that_converges(self, candidate: Candidate, train: Callable[[float], _T]) -> _T:
        """Train with the learning rate that was best on the first fold; if it diverges, with the next best one."""
        first = self.store.read(candidate, "fold_0")
        assert first is not None, "the first fold comes first"
        *rates, last = [one.learning_rate for one in sorted(first.rates, key=lambda one: -(one.held_out or 0.0))]
        for rate in rates:
            try:
                return train(rate)
            except DivergedError:
                continue
        return train(last)

    def _after_adjustment(self, candidate: Candidate, fitted: Classifiers) -> Classifiers:
        if candidate.adjustment is None:
            return fitted
        method, value = candidate.adjustment
        cfg = candidate.config(self.cfg)
        return adjusted_classifiers(self.scorer.predictors, cfg, fitted, method, [value], self.stats)[value]

    def _keep(
        self,
        candidate: Candidate,
        part: str,
        result: EvaluationResult,
        classifiers: Classifiers | None = None,
        fitted: Fitted | None = None,
        rates: list[TriedRate] | None = None,
    ) -> None:
        trained: dict[str, Any] = {}
        if fitted is not None:
            trained = {
                "learning_rate": fitted.learning_rate,
                "curve": [CurvePoint(step=step, loss=loss, held_out=measure) for step, loss, measure in fitted.curve],
                "phases": fitted.phases,
                "seconds": fitted.seconds,
            }
        trial = Trial(evaluation=_numbers_only(result.evaluation), rates=rates or [], **trained)
        self.store.write(candidate, part, trial, classifiers)


def _numbers_only(evaluation: Evaluation) -> Evaluation:
    """The metrics and draws of the boxes, without curves and errors, of which a bake-off has no use."""
    boxes = evaluation.tasks["bbox"]
    boxes = msgspec.structs.replace(boxes, precision_recall=None, errors=None, calibration=None)
    return msgspec.structs.replace(evaluation, tasks={"bbox": boxes})


def _digest(file: str) -> str:
    """Of the content of a file that a config key may name, else the key's value."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if Path(file).is_file() else file
