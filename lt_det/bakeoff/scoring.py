"""Box AP of any classifier on the cached proposals of a detector, as the detector itself would have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray

from lt_det.bakeoff.cache.tables import ProposalTable
from lt_det.bakeoff.detector import Classifiers, ClassifierStates, box_predictors, load_detector, with_classifiers
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator, boxes_as_arrays
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.progress import Track
from lt_det.evaluation.result import EvaluationResult
from lt_det.modeling import LongTailPredictor
from lt_det.modeling.detections import select_detections
from lt_det.statistics.buckets import BucketOptions, FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats


class Scorer:
    """Evaluates classifiers on the cached proposals of one dataset.

    From the cached features on, everything is computed as in the detector: image by image, with Detectron2's box
    regression, non-maximum suppression and scaling, and the matching and metrics of `LongTailEvaluator`. On the CPU the
    metrics of the detector's own classifier are therefore those of ``--eval-only``, to the last bit.

    All candidates are resampled with the same draws of the images, so that the intervals of their differences are
    paired, see `lt_det.reporting.comparison.differences`.

    Attributes:
        predictors: the box predictors of the detector.
    """

    def __init__(
        self,
        cfg: Any,
        table: ProposalTable,
        dataset: str,
        *,
        images: NDArray[np.int64] | None = None,
        stats: ClassStats | None = None,
        buckets: FrequencyBuckets | BucketOptions | None = None,
        draws: int = 0,
    ) -> None:
        """
        Args:
            cfg: the detector's config with its MODEL.WEIGHTS; of Detectron2's heads or lt_det's.
            table: proposals of that detector on the dataset.
            dataset: registered name.
            images: indices into `table.image_ids` of the images to evaluate, such as a held-out fold; None for all
                images of the dataset.
            stats, buckets, draws: see `LongTailEvaluator`.

        Raises:
            LtDetError: the table is not that of this detector and dataset; see also `LongTailEvaluator` and
                `load_detector`.
        """
        self.predictors = box_predictors(load_detector(cfg))
        self._check_table(table)
        self._table = table
        self._evaluator = LongTailEvaluator(
            dataset, stats=stats, buckets=buckets, distributed=False, draws=draws, max_dets=cfg.TEST.MAX_DETS
        )
        if images is None:
            self._check_complete(dataset)
            images = np.arange(len(table.image_ids))
        self._select(images)

    def of_images(self, images: NDArray[np.int64]) -> Scorer:
        """A scorer of some images, with the detector, proposals and ground truth of this one.

        Args:
            images: indices into the table's image ids.
        """
        part = object.__new__(Scorer)
        part.__dict__.update(self.__dict__)
        part._select(images)
        return part

    @property
    def buckets(self) -> FrequencyBuckets:
        """The buckets of the classes."""
        return self._evaluator.buckets

    def detector(self) -> ClassifierStates:
        """The classifiers of the detector as it stands."""
        return ClassifierStates.of(self.predictors)

    @torch.no_grad()
    def evaluate(self, cfg: Any, trained: Classifiers, track: Track = iter) -> EvaluationResult:
        """Evaluate the classifiers of a candidate.

        Args:
            cfg: the candidate's config: that of the detector (see `detector_config`) with the candidate's keys.
            trained: what was trained with it.
            track: wraps the loop over the images, to show progress.
        """
        predictors = with_classifiers(self.predictors, cfg, trained)
        found = [_NO_DETECTIONS]
        for n in track(range(len(self._images))):
            instances = detect(predictors, self._table, int(self._images[n]))
            found.append(boxes_as_arrays(instances.to("cpu"), int(self._indices[n])))
        return self._part.evaluate_boxes(Detections.concatenate(found))

    def _select(self, images: NDArray[np.int64]) -> None:
        self._images = np.unique(images)
        ids = [self._table.image_ids[image] for image in self._images.tolist()]
        self._part = self._evaluator.of_images(ids)
        self._indices = self._part.image_indices(ids)

    def _check_table(self, table: ProposalTable) -> None:
        """Raise unless the table has the stages and features of the detector."""
        found = [features.shape[1] for features in table.features]
        expected = [predictor.cls_score.in_features for predictor in self.predictors]
        if found != expected:
            raise LtDetError(
                f"The cached proposals have {found} features (one number for each stage), but the detector's "
                f"classifiers take {expected}; compute the features with this detector."
            )

    def _check_complete(self, dataset: str) -> None:
        known, cached = set(self._evaluator.context.ground_truth.image_ids.tolist()), set(self._table.image_ids)
        if known - cached:
            raise LtDetError(
                f"The cache has proposals of {len(known & cached)} of the {len(known)} images of '{dataset}'; compute "
                "those of all images, or name the images to evaluate."
            )


_NO_DETECTIONS = Detections(
    np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, 4), dtype=np.float64)
)


@torch.no_grad()
def detect(predictors: Sequence[LongTailPredictor], table: ProposalTable, image: int) -> Instances:
    """The detections of box predictors in one image, in its pixels, as the detector's ROI heads compute them.

    Args:
        predictors: one for each stage; the scores of the stages are averaged, the boxes are those of the last.
        table: what each stage gets.
        image: index into `table.image_ids`.
    """
    rows = slice(int(table.start[image]), int(table.start[image + 1]))
    height, width = table.network_sizes[image].tolist()
    scores = []
    for predictor, features, boxes in zip(predictors, table.features, table.proposals, strict=True):
        device = predictor.bbox_pred.weight.device
        # A copy: rows of a memory-mapped file are aligned differently, which may change the last bit of a product.
        predictions = predictor(torch.tensor(features[rows], device=device))
        proposals = [Instances((height, width), proposal_boxes=Boxes(torch.tensor(boxes[rows], device=device)))]
        scores.append(predictor.predict_probs(predictions, proposals)[0])
    last = predictors[-1]
    (instances,), _ = select_detections(
        last.predict_boxes(predictions, proposals),
        [sum(scores[1:], scores[0]) * (1.0 / len(scores))],
        [(height, width)],
        last.test_score_thresh,
        last.test_nms_thresh,
        last.test_topk_per_image,
    )
    return detector_postprocess(instances, *table.sizes[image].tolist())
