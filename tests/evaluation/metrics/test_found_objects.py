"""Objects found at equal numbers of detections: against a slow loop, and a case worked out by hand."""

import numpy as np
import pytest

from lt_det.evaluation.metrics.found_objects import find_objects
from lt_det.evaluation.protocols import COCO, FIXED, LVIS, Protocol
from tests.helpers.worlds import FIXED_4, as_detections, context_of, slow_kinds, small_world

LVIS_9 = Protocol("lvis", federated=True, per_image=9)
COCO_3 = Protocol("coco", federated=False, per_image_and_class=3)


def found_in(truth, detections, protocol):
    context = context_of(truth, protocol)
    return context, find_objects(context, as_detections(detections, context.ground_truth, "bbox"))


@pytest.mark.parametrize(
    "protocol", [LVIS, LVIS_9, COCO, COCO_3, FIXED, FIXED_4], ids=lambda p: f"{p.name} {p.max_dets}"
)
def test_against_a_slow_loop(protocol):
    some_found = some_cut = 0
    for seed in range(60):
        truth, detections = small_world(seed)
        context, outcome = found_in(truth, detections, protocol)
        counted, wanted = slow_kinds(truth, detections, protocol, "bbox")
        for k, category in enumerate(context.ground_truth.category_ids.tolist()):
            number = sum(g["category_id"] == category for g in wanted)
            own = [d for d in counted if d["category_id"] == category]
            best = sorted(own, key=lambda d: -d["score"])[:number]
            right = sum(d["kind"] == "right" for d in best)
            assert outcome.found[context.objects.classes == k].sum() == right, (seed, category)
            assert outcome.lowest_score[k] == min((d["score"] for d in best), default=np.inf)
            some_found += right
            some_cut += len(own) > len(best) > 0
        assert not (outcome.found & ~context.to_find[:, 0]).any()
    assert some_found > 20
    assert some_cut > 10


def test_the_n_most_confident_detections_of_a_class_count():
    """Whatever the scale of the scores, which differs between losses."""
    box, elsewhere = [10.0, 10.0, 20.0, 20.0], [60.0, 60.0, 20.0, 20.0]
    truth = {
        "images": [{"id": i, "width": 100, "height": 100} for i in (1, 2, 3)],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": box} for i in (1, 2)],
    }
    for scale in (1.0, 0.001):
        detections = [
            {"image_id": image, "category_id": 1, "bbox": found, "score": score * scale}
            for image, found, score in ((2, box, 0.7), (1, box, 0.8), (3, elsewhere, 0.9))
        ]
        _, outcome = found_in(truth, detections, COCO)
        assert outcome.found.tolist() == [True, False]  # the second object's detection is the third of two
        assert outcome.lowest_score.tolist() == [0.8 * scale]
    assert not found_in(truth, [], COCO)[1].found.any()
