"""lt_det against a second oracle, hotcoco, which has no code in common with `lvis` and `pycocotools`."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.evaluation.protocols import COCO, LVIS
from lt_det.io.annotations.coco_json import load_annotations
from tests.helpers.worlds import noisy_detections, small_world, table_of

hotcoco = pytest.importorskip("hotcoco")
both_protocols = pytest.mark.parametrize("protocol", [LVIS, COCO], ids=lambda protocol: protocol.name)


def oracle(protocol, truth, detections, folder):
    """Precision (T, R, K, A) at the protocol's limit."""
    truth = {
        **truth,
        "categories": [{"frequency": "f", **category} for category in truth["categories"]],
        "annotations": [{"iscrowd": 0, **annotation} for annotation in truth["annotations"]],
    }
    file = folder / "truth.json"
    file.write_text(json.dumps(truth))
    plain = [{key: value for key, value in d.items() if key != "segmentation"} for d in detections]
    if protocol.federated:
        gt = hotcoco.LVIS(str(file))
        evaluation = hotcoco.LVISEval(gt, hotcoco.LVISResults(gt, plain, max_dets=protocol.per_image), "bbox")
    else:
        gt = hotcoco.COCO(str(file))
        evaluation = hotcoco.COCOeval(gt, gt.loadRes(plain), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    table = np.asarray(evaluation.eval["precision"])
    return table if table.ndim == 4 else table[..., -1]


def computed_table(protocol, truth, detections):
    return table_of(truth, detections, "bbox", protocol)[0]


def has_area(entry):
    return entry["bbox"][2] * entry["bbox"][3] > 0


@both_protocols
@given(seed=st.integers(0, 2**31))
def test_small_worlds(protocol, seed, tmp_path_factory):
    """Under LVIS's rules without what hotcoco treats differently from `lvis`: ignored objects, crowds, empty boxes."""
    truth, detections = small_world(seed)
    if protocol.federated:
        kept = [a for a in truth["annotations"] if has_area(a) and not a.get("ignore")]
        truth["annotations"] = [{**a, "iscrowd": 0} for a in kept]
        detections = [d for d in detections if has_area(d)]
    if detections:
        expected = oracle(protocol, truth, detections, tmp_path_factory.getbasetemp())
        np.testing.assert_array_equal(computed_table(protocol, truth, detections), expected)


@both_protocols
def test_mini_lvis(protocol, mini, tmp_path):
    truth = load_annotations(mini.val_json)
    detections = noisy_detections(truth)
    table = computed_table(protocol, truth, detections)
    assert 0.05 < table[table > -1].mean() < 0.95
    np.testing.assert_array_equal(table, oracle(protocol, truth, detections, tmp_path))
