"""The names of the metrics of Detectron2's evaluators are those that they compute."""

import logging

import pytest
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators, LVISEvaluator
from detectron2.evaluation.lvis_evaluation import _evaluate_predictions_on_lvis
from detectron2.structures import Boxes, Instances

from lt_det.data import load_records
from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer
from lt_det.training.detectron2_keys.keypoint_ap import KeypointEvaluator
from lt_det.training.hooks.metric_names import metric_names

METRIC = "SOLVER.BEST_CHECKPOINT.METRIC"


class Own(DatasetEvaluator):
    """A user's own evaluator, of a task of its own."""

    def reset(self):
        pass


def test_names_are_those_that_coco_evaluator_computes(config, tmp_path):
    """With an AP for each class."""
    config()
    evaluator = COCOEvaluator("hooks_val", output_dir=str(tmp_path), use_fast_impl=False)
    for annotation in evaluator._coco_api.anns.values():  # LVIS has no crowd regions
        annotation["iscrowd"] = 0
    evaluator.reset()
    for record in load_records("hooks_val", filter_empty=False):
        found = Instances((record["height"], record["width"]))
        found.pred_boxes = Boxes([annotation["bbox"] for annotation in record["annotations"]])
        found.scores = found.pred_boxes.tensor.new_ones(len(found))
        found.pred_classes = found.pred_boxes.tensor.new_zeros(len(found)).long()
        evaluator.process([record], [{"instances": found}])
    (computed,) = evaluator.evaluate().values()
    classes = MetadataCatalog.get("hooks_val").thing_classes
    assert f"AP-{classes[0]}" in computed
    assert list(computed) == metric_names(evaluator, classes)["bbox"]


def test_names_are_those_that_the_others_compute():
    """Detectron2 gives them their names where there are no detections, too."""
    known = metric_names(object.__new__(LVISEvaluator), ["a", "b"])
    for task in ("bbox", "segm"):
        assert known[task] == list(_evaluate_predictions_on_lvis(None, [], task))
    keypoints = object.__new__(KeypointEvaluator)
    keypoints._logger = logging.getLogger(__name__)
    assert metric_names(keypoints, ["a"]) == {"keypoints": list(keypoints._derive_coco_results(None, "keypoints"))}


def trainer_with(evaluator):
    """A user's trainer, whose `build_evaluator` returns it."""

    class Trainer(LongTailTrainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name, output_folder=None):
            return evaluator(super().build_evaluator(cfg, dataset_name))

    return Trainer


@pytest.mark.parametrize(
    ("evaluator", "metric", "known"),
    [
        (lambda ours: COCOEvaluator("hooks_val", use_fast_impl=False), "bbox/APr", "bbox/AP, bbox/AP50, "),
        (lambda ours: DatasetEvaluators([ours, Own()]), "bbox/APx", "bbox/AP, bbox/AP50, "),
        (lambda ours: COCOEvaluator("hooks_val", use_fast_impl=False), "box/AP", "bbox/AP, "),
    ],
    ids=["no buckets", "a known task", "an unknown task"],
)
def test_another_name_is_refused_before_the_training(config, evaluator, metric, known):
    with pytest.raises(LtDetError, match=f"is {metric}, .*one of {known}"):
        trainer_with(evaluator)(config(METRIC, metric))


@pytest.mark.parametrize(
    ("evaluator", "metric"),
    [
        (lambda ours: Own(), "bbox/APx"),
        (lambda ours: DatasetEvaluators([ours, Own()]), "mine/AP"),
        (lambda ours: COCOEvaluator("hooks_val", use_fast_impl=False), "segm/APs"),
        (lambda ours: COCOEvaluator("hooks_val", use_fast_impl=False), "bbox/bucket_mean"),
    ],
    ids=["a user's own", "a user's own beside lt_det's", "masks, if there are some", "classes"],
)
def test_a_name_that_may_come_is_not_refused(config, evaluator, metric):
    assert trainer_with(evaluator)(config(METRIC, metric)).max_iter == 6
