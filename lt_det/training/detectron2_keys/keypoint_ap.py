"""Keypoint AP, computed by Detectron2's COCOEvaluator beside lt_det's box and mask AP."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators

from lt_det.data.formats import reads_coco_json
from lt_det.data.keypoints import keypoint_names
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

_COCO_KEYPOINTS = 17  # pycocotools has their sigmas


def with_keypoints(evaluator: LongTailEvaluator, cfg: Any, dataset_name: str) -> DatasetEvaluator:
    """The evaluator, and where MODEL.KEYPOINT_ON is set another one of keypoint AP.

    A warning says why keypoints are not evaluated.

    Args:
        evaluator: of boxes and masks.
        cfg: TEST.KEYPOINT_OKS_SIGMAS are the sigmas of object keypoint similarity; empty: COCO's, for 17 keypoints.
        dataset_name: registered set to evaluate on.

    Raises:
        LtDetError: another number of sigmas than keypoints, or mistakes in the set's keypoints.
    """
    if not cfg.MODEL.KEYPOINT_ON:
        return evaluator
    number, sigmas = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS, list(cfg.TEST.KEYPOINT_OKS_SIGMAS)
    if sigmas and (len(sigmas) != number or not all(isinstance(s, int | float) and s > 0 for s in sigmas)):
        raise LtDetError(
            f"TEST.KEYPOINT_OKS_SIGMAS is {sigmas}; write a positive number for each keypoint: {number} "
            "(MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS)."
        )
    names = keypoint_names(dataset_name)
    if not reads_coco_json(dataset_name):
        reason = "their annotation format is not COCO's"
    elif names is None:
        reason = "no category of the annotation file names keypoints (categories[].keypoints)"
    elif len(names) != number:
        raise LtDetError(
            f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {number}, but '{dataset_name}' has "
            f"{count_of(len(names), 'keypoint')} ({', '.join(names)}); evaluate on a set with the keypoints of the "
            "training."
        )
    elif not sigmas and number != _COCO_KEYPOINTS:
        reason = "object keypoint similarity needs a sigma for each: set TEST.KEYPOINT_OKS_SIGMAS"
    else:
        evaluator.warns_of_keypoints = False
        return DatasetEvaluators([evaluator, KeypointEvaluator(dataset_name, sigmas, number)])
    logger.warning("Keypoints are not evaluated on '%s': %s.", dataset_name, reason)
    return evaluator


class KeypointEvaluator(COCOEvaluator):
    """COCOEvaluator of keypoint AP alone. Annotations may lack what COCO's own files have."""

    def __init__(self, dataset_name: str, sigmas: Sequence[float], num_keypoints: int) -> None:
        """
        Args:
            dataset_name: registered set, with a COCO-format json.
            sigmas: one per keypoint; empty: COCO's 17.
            num_keypoints: keypoints per instance.
        """
        super().__init__(dataset_name, tasks=("keypoints",), use_fast_impl=False, kpt_oks_sigmas=list(sigmas))
        for annotation in self._coco_api.anns.values():
            annotation["keypoints"] = annotation.get("keypoints") or [0] * (3 * num_keypoints)
            visible = sum(visibility > 0 for visibility in annotation["keypoints"][2::3])
            annotation.setdefault("num_keypoints", visible)
            annotation.setdefault("iscrowd", 0)
            annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        # Before the records are loaded, Detectron2's metadata may lack the ids.
        ids = sorted(self._coco_api.getCatIds())
        metadata = MetadataCatalog.get(dataset_name)
        if metadata.get("thing_dataset_id_to_contiguous_id") is None:
            metadata.set(thing_dataset_id_to_contiguous_id={category: k for k, category in enumerate(ids)})
