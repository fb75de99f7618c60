"""Sampled RoIs: as many as in training and of the same composition, with all ground truth."""

import numpy as np
import pytest
import torch
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import Boxes, pairwise_iou
from torch import nn

from lt_det.bakeoff.features import training_rois
from lt_det.bakeoff.features.training_rois import Thinning, TrainingRois, sample_rois
from lt_det.errors import LtDetError
from tests.helpers import assert_same
from tests.helpers.frozen_detector import small_detector
from tests.helpers.models import NUM_CLASSES, synthetic_batch

K = 3
FLOAT32 = np.dtype("float32")


def proposals_of_an_image():
    """Twenty foreground proposals of three classes, four of them ground truth, fifty of background, five ignored."""
    labels = np.repeat([0, 1, 2, K, -1], [12, 6, 2, 50, 5])
    is_ground_truth = np.zeros(len(labels), dtype=bool)
    is_ground_truth[[0, 1, 12, 18]] = True
    return labels, is_ground_truth


def sampled(generator, batch_size=32, thinning=Thinning()):  # noqa: B008
    labels, truth = proposals_of_an_image()
    options = {"num_classes": K, "batch_size": batch_size, "positive_fraction": 0.25, "thinning": thinning}
    rows, weights = sample_rois(labels, truth, generator=generator, **options)
    return labels[rows], truth[rows], rows, weights


def mean_composition(draw, number):
    return np.mean([draw() for _ in range(number)], axis=0)


@pytest.mark.parametrize("thinning", [Thinning(), Thinning(0.5, 0.25)])
def test_weights_restore_the_composition_of_training(thinning):
    """The expected weight of each class is the expected number of RoIs that Detectron2 samples."""
    generator = np.random.default_rng(0)
    labels = torch.as_tensor(proposals_of_an_image()[0])

    def cached():
        found, _, _, weights = sampled(generator, thinning=thinning)
        return np.bincount(found, weights, minlength=K + 1)

    def trained():
        rows = torch.cat(subsample_labels(labels, 32, 0.25, K))
        return np.bincount(labels[rows], minlength=K + 1)

    expected = [8 * 12 / 20, 8 * 6 / 20, 8 * 2 / 20, 24]
    np.testing.assert_allclose(mean_composition(trained, 3000), expected, rtol=0.05)
    np.testing.assert_allclose(mean_composition(cached, 3000), expected, rtol=0.05)


def test_all_ground_truth_is_kept_and_no_row_comes_twice():
    generator = np.random.default_rng(0)
    for _ in range(20):
        labels, truth, rows, weights = sampled(generator, batch_size=16, thinning=Thinning(0.1, 0.1))
        assert truth.sum() == 4
        assert len(np.unique(rows)) == len(rows)
        assert labels.min() >= 0
        np.testing.assert_allclose(weights[truth], 4 / 20)
        np.testing.assert_allclose(weights[~truth], 10)


def test_small_images_are_sampled_whole_with_weight_one():
    _, _, rows, weights = sampled(np.random.default_rng(0), batch_size=200)
    assert sorted(rows) == list(range(70))
    assert np.all(weights == 1)


@pytest.mark.parametrize("roi_heads", ["LongTailROIHeads", "Res5ROIHeads", "LongTailCascadeROIHeads"])
def test_rois_of_an_image(roi_heads):
    model = small_detector(roi_heads)
    record = synthetic_batch()[0]
    targets = record["instances"]
    stages = TrainingRois(model, Thinning(), FLOAT32)(record, np.random.default_rng(0))
    assert len(stages) == (3 if "Cascade" in roi_heads else 1)
    for threshold, stage in zip((0.5, 0.6, 0.7), stages, strict=False):
        assert len({len(column) for column in stage.values()}) == 1
        foreground = stage["labels"] < NUM_CLASSES
        np.testing.assert_array_equal(foreground, stage["ious"] >= threshold)
    first = stages[0]
    assert len(first["labels"]) <= 32 + len(targets)
    exact = first["ious"] > 0.999  # the ground-truth boxes
    assert sorted(first["labels"][exact]) == sorted(targets.gt_classes.tolist())
    # Their features are those of the box head at these boxes, whatever else is in the batch.
    with torch.no_grad():
        heads = model.roi_heads
        maps = model.backbone(model.preprocess_image([record]).tensor)
        maps = [maps[name] for name in heads.in_features]
        if "Res5" in roi_heads:
            expected = heads._shared_roi_transform(maps, [targets.gt_boxes]).mean(dim=[2, 3])
        else:
            head = heads.box_head[0] if isinstance(heads.box_head, nn.ModuleList) else heads.box_head
            expected = head(heads.box_pooler(maps, [targets.gt_boxes]))
    order = [first["labels"][exact].tolist().index(k) for k in targets.gt_classes.tolist()]
    np.testing.assert_allclose(first["features"][exact][order], expected.numpy(), rtol=1e-4, atol=1e-6 * expected.max())


def test_only_the_generator_decides():
    """Neither torch's random numbers nor an earlier image change the sample; another generator does."""
    model = small_detector("LongTailCascadeROIHeads")
    found = TrainingRois(model, Thinning(0.5, 0.5), FLOAT32)
    one, empty = synthetic_batch()
    first = found(one, np.random.default_rng(7))
    torch.manual_seed(99)
    found(empty, np.random.default_rng(7))
    assert_same(found(one, np.random.default_rng(7)), first)
    assert len(found(one, np.random.default_rng(8))[0]["labels"]) != len(first[0]["labels"])


def test_weights_stay_with_the_boxes_of_a_cascade(monkeypatch):
    """Every RoI gets a weight of its own, and some boxes leave the image on the way."""
    model = small_detector("CascadeROIHeads")
    recorders = []
    by_stage = training_rois._weights
    monkeypatch.setattr(training_rois, "_weights", lambda stages: recorders.extend(stages) or by_stage(stages))

    def numbered(*args, **options):
        rows, _ = sample_rois(*args, **options)
        return rows, np.arange(len(rows), dtype=np.float32)

    monkeypatch.setattr(training_rois, "sample_rois", numbered)
    with torch.no_grad():
        model.roi_heads.box_predictor[0].bbox_pred.bias[0] = 20.0  # two widths to the right
    stages = TrainingRois(model, Thinning(), FLOAT32)(synthetic_batch()[0], np.random.default_rng(0))
    for number in (1, 2):
        before = stages[number - 1]["weights"].tolist()
        kept = [before.index(weight) for weight in stages[number]["weights"]]
        refined = Boxes(recorders[number - 1].boxes[0][kept])
        refined.clip((96, 96))
        assert_same(recorders[number].proposals[0].proposal_boxes.tensor, refined.tensor)
    assert 0 < len(stages[1]["weights"]) < len(stages[0]["weights"])


def test_image_without_objects():
    model = small_detector("LongTailCascadeROIHeads")
    stages = TrainingRois(model, Thinning(), FLOAT32)(synthetic_batch()[1], np.random.default_rng(0))
    for stage in stages:
        assert set(stage["labels"]) == {NUM_CLASSES}
        assert not stage["ious"].any()


def test_model_is_as_before():
    model = small_detector("StandardROIHeads")
    heads = model.roi_heads
    before = {name: value for name, value in vars(heads).items() if not name.startswith("_")}
    TrainingRois(model, Thinning(), FLOAT32)(synthetic_batch()[0], np.random.default_rng(0))
    assert {name: value for name, value in vars(heads).items() if not name.startswith("_")} == before
    assert not any(module.training for module in model.modules())


def test_features_that_are_too_large_for_float16():
    model = small_detector("StandardROIHeads")
    with torch.no_grad():
        model.roi_heads.box_head.fc1.bias.fill_(1e5)
    with pytest.raises(LtDetError, match="too large for float16"):
        TrainingRois(model, Thinning(), np.dtype("float16"))(synthetic_batch()[0], np.random.default_rng(0))


def test_ious_are_those_of_the_matched_boxes():
    model = small_detector("StandardROIHeads")
    record = synthetic_batch()[0]
    seen = []
    sample = model.roi_heads.label_and_sample_proposals
    model.roi_heads.label_and_sample_proposals = lambda *args: seen.append(sample(*args)) or seen[-1]
    (stage,) = TrainingRois(model, Thinning(), FLOAT32)(record, np.random.default_rng(0))
    best = pairwise_iou(record["instances"].gt_boxes, Boxes(seen[0][0].proposal_boxes.tensor)).max(dim=0).values
    assert set(np.round(stage["ious"], 5)) <= set(np.round(best.numpy(), 5))
