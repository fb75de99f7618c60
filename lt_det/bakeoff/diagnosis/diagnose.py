"""The diagnosis of a trained detector from its feature cache: what `lt-det diagnose` computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from lt_det.bakeoff.cache.cache import FeatureCache
from lt_det.bakeoff.detector import box_predictors, detector_config, load_detector
from lt_det.bakeoff.diagnosis.batches import Rois
from lt_det.bakeoff.diagnosis.effective_number import effective_numbers
from lt_det.bakeoff.diagnosis.matched_proposals import matched_proposals
from lt_det.bakeoff.diagnosis.stage import Settings, diagnose_stage
from lt_det.config import buckets_of_config
from lt_det.evaluation.diagnosis_schema import DiagnosedClass, Diagnosis
from lt_det.evaluation.progress import Track
from lt_det.evaluation.schema import Buckets
from lt_det.layers import CosineClassifier, ScaledLinear
from lt_det.losses import ClassReweighting, registered_name
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.training.preflight import training_stats_of


def diagnose(
    cfg: Any, cache: FeatureCache, *, test: str | None = None, seed: int = 0, track: Track = iter
) -> Diagnosis:
    """Measure what the papers of the losses plot.

    Training and test RoIs of a class are compared if the cache has the proposals of the test set. They are proposals of
    the RPN on both sides, and have the IoU with an object that the training sampler asks for.

    Args:
        cfg: of the detector; its datasets are registered.
        cache: of the same detector.
        test: registered test set; None: the first one of DATASETS.TEST that is in the cache.
        seed: see `Settings`.
        track: wraps the loop over the iterations of each stage.

    Raises:
        LtDetError: the weights do not fit, there are no class counts, or the test set is not in the cache.
    """
    ours = detector_config(cfg)
    stats = training_stats_of(ours)
    buckets = buckets_of_config(ours, stats)
    counts = stats.image_counts if stats.instance_counts is None else stats.instance_counts
    settings = Settings(buckets, counts, ours.SOLVER.IMS_PER_BATCH, seed, ours.MODEL.DEVICE)
    if test is None:
        test = next((name for name in ours.DATASETS.TEST if name in cache.datasets), None)
    proposals = None if test is None else cache.proposals(test)
    predictors = box_predictors(load_detector(cfg))
    thresholds = _iou_thresholds(ours, len(predictors))
    stages = []
    for index, predictor in enumerate(predictors):
        matched: Rois | None = None
        if test is not None and proposals is not None:
            matched = matched_proposals(proposals, index, test, thresholds[index])
        stages.append(
            diagnose_stage(cache.rois(index), predictor.cls_score, predictor.loss, settings, matched, track=track)
        )
    return Diagnosis(
        checkpoint=str(cfg.MODEL.WEIGHTS),
        loss=_loss_name(predictors[0].loss),
        classifier=_classifier_name(predictors[0].cls_score),
        training=list(cfg.DATASETS.TRAIN),
        training_images=len(np.unique(np.asarray(cache.rois(0).images))),
        training_set_images=len(cache.rois(0).image_ids),
        test=test,
        test_images=None if proposals is None else len(proposals.image_ids),
        buckets=Buckets(
            names=list(buckets.names), by=buckets.by, edges=None if buckets.edges is None else list(buckets.edges)
        ),
        classes=_classes(stats, buckets),
        effective_numbers=effective_numbers(counts),
        stages=stages,
    )


def _iou_thresholds(cfg: Any, num_stages: int) -> list[float]:
    if num_stages == 1:
        return [float(cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS[-1])]
    return [float(threshold) for threshold in cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS]


def _loss_name(loss: nn.Module) -> str:
    return registered_name(loss) + (", re-weighted" if isinstance(loss, ClassReweighting) else "")


def _classifier_name(classifier: nn.Module) -> str:
    if isinstance(classifier, CosineClassifier):
        return "cosine"
    return "scaled" if isinstance(classifier, ScaledLinear) else "linear"


def _classes(stats: ClassStats, buckets: FrequencyBuckets) -> list[DiagnosedClass]:
    instances = stats.instance_counts
    return [
        DiagnosedClass(
            name=name,
            bucket=None if buckets.assignment[k] < 0 else buckets.names[buckets.assignment[k]],
            images=int(stats.image_counts[k]),
            instances=None if instances is None else int(instances[k]),
        )
        for k, name in enumerate(stats.names)
    ]
