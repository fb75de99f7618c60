"""The names of the metrics of Detectron2's evaluators, which are known before they evaluate."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, LVISEvaluator

from lt_det.training.detectron2_keys.keypoint_ap import KeypointEvaluator

_BOXES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_BUCKETS = ("APr", "APc", "APf")
_KEYPOINTS = ("AP", "AP50", "AP75", "APm", "APl")
_PROPOSALS = tuple(f"AR{size}@{limit}" for size in ("", "s", "m", "l") for limit in (100, 1000))


def metric_names(evaluator: DatasetEvaluator, classes: Sequence[str]) -> dict[str, list[str]] | None:
    """What an evaluator of Detectron2 may compute, by task; None for another, such as a user's own or a subclass.

    Args:
        evaluator: COCOEvaluator, LVISEvaluator or lt_det's of keypoints.
        classes: of the test set; COCOEvaluator has an AP for each of several.
    """
    if type(evaluator) is LVISEvaluator:
        names = [*_BOXES, *_BUCKETS]
        return {"bbox": names, "segm": names, "box_proposals": list(_PROPOSALS)}
    by_class = [f"AP-{name}" for name in classes] if len(classes) > 1 else []
    keypoints = {"keypoints": [*_KEYPOINTS, *by_class]}
    if type(evaluator) is KeypointEvaluator:
        return keypoints
    if type(evaluator) is COCOEvaluator:
        names = [*_BOXES, *by_class]
        return {"bbox": names, "segm": names, "box_proposals": list(_PROPOSALS), **keypoints}
    return None
