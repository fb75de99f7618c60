"""Ground truth of some images."""

import dataclasses

import numpy as np
import pytest

from lt_det.evaluation.matching.ground_truth import ClassLists, GroundTruth
from tests.helpers.worlds import small_world


def assert_equal(found, expected):
    for field in dataclasses.fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, ClassLists):
            assert_equal(one, other)
        else:
            np.testing.assert_equal(one, other)


@pytest.mark.parametrize("seed", range(20))
def test_some_images_are_as_if_the_file_had_no_others(seed):
    data, _ = small_world(seed)
    data["images"].append({"id": 77, "height": 5, "width": 7})  # without objects and lists
    truth = GroundTruth.from_json(data)
    for kept in ([], [77], truth.image_ids[::2].tolist(), truth.image_ids.tolist()):
        part = {**data, "images": [image for image in data["images"] if image["id"] in kept]}
        part["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
        index = np.flatnonzero(np.isin(truth.image_ids, kept))
        assert_equal(truth.of_images(index), GroundTruth.from_json(part))
