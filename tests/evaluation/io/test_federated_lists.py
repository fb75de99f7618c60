"""Ground truth that has only one of LVIS's two lists."""

import pytest

from lt_det.evaluation.io.federated_lists import check_lists, default_protocol
from lt_det.evaluation.protocols import COCO, LVIS

NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"


@pytest.mark.parametrize(
    ("images", "protocol", "named"),
    [
        ([{NEGATIVE: [1]}, {NEGATIVE: []}], LVIS, NOT_EXHAUSTIVE),
        ([{NEGATIVE: [1], NOT_EXHAUSTIVE: None}], LVIS, NOT_EXHAUSTIVE),
        ([{NOT_EXHAUSTIVE: [1]}, {}], COCO, NEGATIVE),
        # All objects are annotated in all images, or there are no lists at all.
        ([{NEGATIVE: [1], NOT_EXHAUSTIVE: []}, {NEGATIVE: [2]}], LVIS, ""),
        ([{NOT_EXHAUSTIVE: []}, {NOT_EXHAUSTIVE: []}], COCO, ""),
        ([{}, {}], COCO, ""),
    ],
)
def test_one_of_the_lists(images, protocol, named, caplog, request):
    for _ in range(2):
        assert default_protocol(request.node.name, images) == protocol
        if protocol == LVIS:
            check_lists(request.node.name, images, protocol, "use another")
    assert [f"no {named}" in record.getMessage() for record in caplog.records] == [True] * bool(named)
