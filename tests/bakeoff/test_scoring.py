"""Classifiers on cached proposals have the metrics of the detector that they belong to, to the last bit."""

import dataclasses
import json

import numpy as np
import pytest

from lt_det.bakeoff.adjusting import adjusted_classifiers
from lt_det.bakeoff.detector import detector_config
from lt_det.bakeoff.scoring import Scorer
from lt_det.data import register_dataset
from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, register_loss
from lt_det.losses.sigmoid import SigmoidCrossEntropyLoss
from lt_det.reporting.comparison.differences import metric_differences
from lt_det.training import LongTailTrainer
from lt_det.training.preflight import training_stats_of
from tests.helpers import first_images
from tests.helpers.proposals import (
    TRAIN,
    VAL,
    changed_config,
    random_classifiers,
    random_detector,
    record_proposals,
    write_config,
)


@pytest.fixture(scope="module")
def config(mini, tmp_path_factory):
    return write_config(mini, tmp_path_factory.mktemp("scored"), 12)


@pytest.fixture(scope="module")
def softmax(config, tmp_path_factory):
    """A detector, its proposals and a scorer with draws."""
    cfg = random_detector(config, tmp_path_factory.mktemp("softmax"))
    table = record_proposals(cfg, VAL)
    return cfg, table, Scorer(cfg, table, VAL, stats=training_stats_of(cfg), draws=100)


@pytest.fixture
def k_columns():
    """A sigmoid loss without Detectron2's unused column."""

    @register_loss("k_columns")
    class KColumns(SigmoidCrossEntropyLoss):
        num_logits = property(lambda self: self.num_classes)

    yield "k_columns"
    del LOSSES["k_columns"]


CASCADE = ["MODEL.ROI_HEADS.NAME", "LongTailCascadeROIHeads"]
C4 = ["MODEL.ROI_HEADS.NAME", "LongTailRes5ROIHeads", "MODEL.ROI_HEADS.IN_FEATURES", "['res4']"]
C4 += ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RPN.IN_FEATURES", "['res4']"]
C4 += ["INPUT.MIN_SIZE_TEST", "96"]
C4 += ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64", "MODEL.RPN.POST_NMS_TOPK_TEST", "25"]
CLASS_SPECIFIC = ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "False"]
LOSS = "MODEL.LONG_TAIL.LOSS.NAME"


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [LOSS, "seesaw", "MODEL.MASK_ON", "True"],
        [LOSS, "ldam", *CASCADE],
        [LOSS, "eqlv2", *CLASS_SPECIFIC],
        [LOSS, "cdt", "MODEL.LONG_TAIL.CLASSIFIER", "cosine", "TEST.DETECTIONS_PER_IMAGE", "5"],
        ["MODEL.LONG_TAIL.CLASSIFIER", "scaled", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.1"],
        C4,
        ["MODEL.ROI_HEADS.NAME", "StandardROIHeads"],
        ["MODEL.ROI_HEADS.NAME", "CascadeROIHeads"],
        ["MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", "True", *CLASS_SPECIFIC],
    ],
    ids=lambda overrides: "-".join(overrides[1::2]) or "softmax",
)
def test_the_detector_has_its_own_metrics(config, tmp_path, overrides):
    cfg = random_detector(config, tmp_path, *overrides)
    expected = LongTailTrainer.evaluate(cfg)["bbox"]
    assert expected["AP"] > 0
    scorer = Scorer(cfg, record_proposals(cfg, VAL), VAL, stats=training_stats_of(cfg))
    found = scorer.evaluate(detector_config(cfg), scorer.detector())
    np.testing.assert_equal(found.metrics["bbox"], expected)


def test_k_columns(config, tmp_path, k_columns):
    test_the_detector_has_its_own_metrics(config, tmp_path, [LOSS, k_columns])


def test_a_fold_is_evaluated_like_a_dataset_of_its_images(softmax, mini, tmp_path):
    cfg, table, scorer = softmax
    (tmp_path / "five.json").write_text(json.dumps(first_images(mini.val_json, 5)))
    register_dataset("scored_five", tmp_path / "five.json", mini.image_root)
    ids = [image["id"] for image in first_images(mini.val_json, 5)["images"]]
    images = np.array([table.image_ids.index(image_id) for image_id in ids])
    small = Scorer(cfg, record_proposals(cfg, "scored_five"), "scored_five", stats=training_stats_of(cfg), draws=100)
    expected = small.evaluate(detector_config(cfg), small.detector()).evaluation.tasks
    for part in (
        scorer.of_images(images[::-1]),
        Scorer(cfg, table, VAL, images=images, stats=training_stats_of(cfg), draws=100),
    ):
        assert part.evaluate(detector_config(cfg), part.detector()).evaluation.tasks == expected
    whole = scorer.evaluate(detector_config(cfg), scorer.detector()).evaluation.tasks
    assert whole["bbox"].metrics["AP"] != expected["bbox"].metrics["AP"]


def test_candidates_are_resampled_with_the_same_draws(softmax):
    cfg, _, scorer = softmax
    first = scorer.evaluate(detector_config(cfg), scorer.detector())
    seesaw = changed_config(cfg, LOSS, "seesaw")
    other = scorer.evaluate(seesaw, random_classifiers(scorer.predictors, seesaw))
    tasks = first.evaluation.tasks["bbox"], other.evaluation.tasks["bbox"]
    differences = {difference.metric: difference for difference in metric_differences(*tasks)}
    assert differences["AP"].value != 0
    assert differences["AP"].interval is not None
    assert tasks[0].intervals["AP"] != tasks[1].intervals["AP"]


def test_adjustment_changes_the_classifier_alone(softmax):
    """As `lt-det adjust` does it; 0 changes nothing."""
    cfg, _, scorer = softmax
    own, own_cfg, stats = scorer.detector(), detector_config(cfg), training_stats_of(cfg)
    for method in ("tau_norm", "norcal", "logit_adjustment"):
        by_value = adjusted_classifiers(scorer.predictors, own_cfg, own, method, [0.0, 0.5, 1.0], stats)
        aps = [scorer.evaluate(own_cfg, states).metrics["bbox"]["AP"] for states in by_value.values()]
        assert aps[0] == scorer.evaluate(own_cfg, own).metrics["bbox"]["AP"]
        assert len(set(aps)) == 3
    cosine = changed_config(cfg, LOSS, "seesaw")
    trained = random_classifiers(scorer.predictors, cosine)
    with pytest.raises(LtDetError, match="tau_norm is not defined for the cosine classifier"):
        adjusted_classifiers(scorer.predictors, cosine, trained, "tau_norm", [1.0], stats)
    with pytest.raises(LtDetError, match="no post-hoc method 'tau'"):
        adjusted_classifiers(scorer.predictors, own_cfg, own, "tau", [1.0], stats)


def test_a_table_of_something_else_is_refused(softmax):
    cfg, table, _ = softmax
    for wrong in ({"features": [table.features[0][:, :-1]]}, {"features": table.features * 3}):
        with pytest.raises(LtDetError, match=r"25[56](, 256)*\] features.* take \[256\]"):
            Scorer(cfg, dataclasses.replace(table, **wrong), VAL)
    with pytest.raises(LtDetError, match=f"12 images are not in '{TRAIN}'|proposals of 0 of"):
        Scorer(cfg, table, TRAIN)
    fewer = dataclasses.replace(table, image_ids=table.image_ids[:-1])
    with pytest.raises(LtDetError, match=f"11 of the 12 images of '{VAL}'"):
        Scorer(cfg, fewer, VAL)
    assert Scorer(cfg, fewer, VAL, images=np.arange(3))
