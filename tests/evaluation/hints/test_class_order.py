"""Classes in another order than the ground truth's are named, and a detector that confuses classes is not suspected."""

import numpy as np
import pytest

from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.hints.results import result_hints
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from tests.helpers.jittered_detections import EXACT, GOOD, WEAK, detections_of, world

LONG_TAIL = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 5)  # category ids, of which one is chosen for each object


def truth_of(seed, category_ids=(1, 2, 3, 4, 5), images=40):
    data = world(seed, images=images, category_ids=category_ids)
    data["categories"] = [{"id": id_, "name": f"class {id_}"} for id_ in sorted(set(category_ids))]
    return GroundTruth.from_json(data)


def hints_of(found, classes, truth, **options):
    return result_hints(
        Detections(found.images, classes, found.scores, found.boxes), truth, "xywh", images=ImageIds(), **options
    )


@pytest.mark.parametrize("quality", [EXACT, GOOD])
@pytest.mark.parametrize(
    ("category_ids", "order", "example"),
    [
        ((1, 2, 3, 4, 5), [3, 0, 4, 2, 1], "those of 1 on those of 2, 2 on those of 5, 3 on those of 4, ..."),
        (("a", "b", "c"), [1, 2, 0], "those of a on those of c, b on those of a, c on those of b)"),
        (LONG_TAIL, [4, 2, 1, 3, 0], "those of 1 on those of 5,"),
    ],
)
def test_another_order(quality, category_ids, order, example):
    truth = truth_of(1, category_ids)
    found = detections_of(truth, quality, 1)
    (hint,) = hints_of(found, np.asarray(order)[found.classes], truth)
    assert "classes in another order" in hint
    assert example in hint
    (hint,) = hints_of(found, np.asarray(order)[found.classes], truth, class_indices=True)
    assert "thing_classes" in hint


@pytest.mark.parametrize("category_ids", [(1, 2), (1, 2, 3, 4, 5), LONG_TAIL])
@pytest.mark.parametrize("quality", [EXACT, WEAK])
def test_detectors_that_confuse_classes(category_ids, quality):
    for seed in range(30):
        truth = truth_of(seed, category_ids, images=3 + seed)
        found = detections_of(truth, quality, seed)
        rng, number = np.random.default_rng(seed), truth.num_classes
        for classes in (
            rng.integers(0, number, len(found)),  # it has learned nothing
            rng.choice(np.sort(category_ids) - 1, len(found)),  # only how frequent the classes are
            np.where(found.classes == 1, 0, found.classes),  # one class is always taken for another
            np.maximum(found.classes - (rng.random(len(found)) < 0.4), 0),  # for the next more frequent one
        ):
            if len(np.unique(classes)) > 1:
                assert hints_of(found, classes, truth) == []


def test_one_category_for_all():
    truth = truth_of(2)
    found = detections_of(truth, GOOD, 2)
    (hint,) = hints_of(found, np.zeros_like(found.classes), truth)
    assert "All detections have the category 1, but only" in hint
    frequent = truth_of(2, LONG_TAIL)  # a detector of the most frequent category
    found = detections_of(frequent, GOOD, 2)
    assert hints_of(found, np.zeros_like(found.classes), frequent) == []
