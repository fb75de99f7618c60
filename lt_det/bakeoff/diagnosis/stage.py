"""The diagnosis of one stage of a box head, from its RoIs, its classifier and its loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.diagnosis.batches import Rois, each_batch
from lt_det.bakeoff.diagnosis.confusion import ConfusionCounts
from lt_det.bakeoff.diagnosis.feature_deviation import ClassSums, feature_deviation
from lt_det.bakeoff.diagnosis.gradients import GradientNorms
from lt_det.bakeoff.diagnosis.influence import ForegroundCollector, influence_by_margin
from lt_det.bakeoff.diagnosis.last_layer import LastLayer
from lt_det.bakeoff.diagnosis.margins import margins_by_class, weight_norms
from lt_det.evaluation.diagnosis_schema import Confusion, FeatureDeviation, Stage
from lt_det.evaluation.progress import Track
from lt_det.layers import CosineClassifier
from lt_det.losses import ClassificationLoss, ClassReweighting
from lt_det.statistics.buckets import FrequencyBuckets

# The sampler adds the ground-truth boxes to the proposals; their IoU with themselves is 1 up to rounding.
_GROUND_TRUTH_IOU = 1 - 1e-5


@dataclass(frozen=True, eq=False)
class Settings:
    """What a diagnosis depends on besides the detector.

    Attributes:
        buckets: of the classes.
        counts: (K,) training instances, or images where instances are not known.
        images_per_iteration: SOLVER.IMS_PER_BATCH.
        seed: of the order of the images, of losses that draw random numbers, and of the sample of points.
        device: where to compute.
    """

    buckets: FrequencyBuckets
    counts: NDArray[np.int64]
    images_per_iteration: int = 16
    seed: int = 0
    device: str = "cpu"


def diagnose_stage(
    table: RoiTable,
    classifier: nn.Module,
    loss: ClassificationLoss | ClassReweighting,
    settings: Settings,
    test: Rois | None = None,
    track: Track = iter,
) -> Stage:
    """Measure one stage; the table is read once, a few images at a time.

    Args:
        table: training RoIs of the stage.
        classifier, loss: of the stage; neither is changed.
        settings: see `Settings`.
        test: test RoIs that were matched to an object; None: training and test are not compared.
        track: wraps the loop over the iterations of an epoch.

    Raises:
        LtDetError: the classifier cannot be diagnosed, or the loss refuses to train.
    """
    layer = LastLayer(classifier, loss, settings.device)
    rois = Rois.of_table(table)
    gradients, collector = GradientNorms(layer), ForegroundCollector()
    iterations = rois.iterations(settings.images_per_iteration, settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for index in track(range(len(iterations))):
            gradients.add_iteration(collector.adding(rois.read(chunk, layer) for chunk in iterations[index]))
    foreground = collector.result()
    norms = layer.weight_norms().double().cpu().numpy()
    deviation, confusion = (None, None) if test is None else _compare(table, test, layer, settings.buckets)
    return Stage(
        training_rois=len(rois.labels),
        foreground_rois=len(foreground.labels),
        gradients=gradients.result(settings.images_per_iteration),
        influence=influence_by_margin(foreground, settings.buckets, settings.seed),
        margins=margins_by_class(foreground.labels, foreground.margins, settings.counts, loss, foreground.stands_for),
        weight_norms=weight_norms(norms, settings.counts, not isinstance(classifier, CosineClassifier)),
        deviation=deviation,
        confusion=confusion,
    )


def _compare(
    table: RoiTable, test: Rois, layer: LastLayer, buckets: FrequencyBuckets
) -> tuple[FeatureDeviation, Confusion]:
    """Training and test RoIs that are proposals on both sides: ground-truth boxes are left out."""
    proposals = (np.asarray(table.labels) < table.num_classes) & (np.asarray(table.ious) < _GROUND_TRUTH_IOU)
    training, tested, confusion = ClassSums(layer), ClassSums(layer), ConfusionCounts(layer)
    for batch in each_batch(Rois.of_table(table, proposals), layer):
        training.add(batch)
    for batch in each_batch(test, layer):
        tested.add(batch)
        confusion.add(batch)
    return feature_deviation(training, tested), confusion.result(buckets)
