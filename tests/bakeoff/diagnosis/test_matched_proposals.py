"""Proposals at test time are matched to the objects of their image, in the network's pixels."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode

from lt_det.bakeoff.cache.tables import ProposalTable
from lt_det.bakeoff.diagnosis.matched_proposals import matched_proposals


def annotation(box, k, **more):
    return {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": k, **more}


@pytest.fixture
def dataset():
    records = [
        {"image_id": "crowded", "annotations": [annotation([10, 10, 20, 20], 3), annotation([12, 10, 20, 20], 1)]},
        {"image_id": "empty", "annotations": []},
        {"image_id": "crowd", "annotations": [annotation([0, 0, 50, 50], 2, iscrowd=1), annotation([0, 0, 10, 40], 0)]},
    ]
    DatasetCatalog.register("matched_val", lambda: records)
    yield "matched_val"
    DatasetCatalog.remove("matched_val")


def table():
    """The network sees the images twice as wide and three times as high; each stage has boxes of its own."""
    first = np.array(
        [
            [20, 30, 60, 90],  # the first object
            [24, 30, 64, 90],  # the second one
            [20, 60, 60, 120],  # IoU 1/3
            [5, 5, 9, 9],  # an image without objects
            [0, 0, 100, 150],  # the crowd region
            [0, 0, 20, 60],  # the upper half of the object
        ],
        dtype=np.float32,
    )
    second = first.copy()
    second[2] = first[0]
    return ProposalTable(
        features=[np.arange(12, dtype=np.float32).reshape(6, 2), np.zeros((6, 2), dtype=np.float32)],
        proposals=[first, second],
        start=np.array([0, 3, 4, 6]),
        network_sizes=np.array([[300, 200]] * 3),
        sizes=np.array([[100, 100]] * 3),
        image_ids=["crowded", "empty", "crowd"],
    )


def test_the_best_object_from_the_threshold_on(dataset):
    found = matched_proposals(table(), 0, dataset, 0.5)
    assert found.rows.tolist() == [0, 1, 5]
    assert found.labels.tolist() == [3, 1, 0]
    assert found.images.tolist() == [0, 0, 2]
    assert found.weights.tolist() == [1, 1, 1]
    assert np.array_equal(found.features[found.rows], [[0, 1], [2, 3], [10, 11]])


def test_each_stage_has_its_boxes_and_threshold(dataset):
    assert matched_proposals(table(), 1, dataset, 0.6).rows.tolist() == [0, 1, 2]


def test_no_object_at_all(dataset):
    nothing = matched_proposals(table(), 0, dataset, 1.1)
    assert len(nothing.rows) == len(nothing.labels) == len(nothing.images) == 0
