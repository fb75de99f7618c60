"""Precision tables and buckets against what the reference implementations summarize themselves."""

import contextlib
import copy
import io
import json
import math
from unittest import mock

import numpy as np
import pytest

from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.average_precision import apply_limits, area_tables
from lt_det.evaluation.metrics.average_precision import precision_table as full_table
from lt_det.evaluation.metrics.bucket_ap import summarize, summarize_areas
from lt_det.evaluation.protocols import COCO, PROTOCOLS
from lt_det.evaluation.task_results import summarize_task
from lt_det.io.annotations.coco_json import load_annotations
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from tests.helpers.worlds import as_detections, context_of, noisy_detections, small_world, table_of


def precision_table(protocol, ground_truth, results, task):
    return table_of(ground_truth, results, task, PROTOCOLS[protocol])


@pytest.fixture
def mini_val(mini):
    return load_annotations(mini.val_json)


@pytest.fixture
def mini_buckets(mini):
    return FrequencyBuckets.from_edges(ClassStats.from_json(mini.train_json))


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_equals_lvis_api(mini, mini_val, mini_buckets, task, tmp_path):
    """All metrics, bit for bit: `frequency` in the json is the training set's, so lvis's own buckets are ours."""
    from lvis import LVIS, LVISEval, LVISResults

    detections = noisy_detections(mini_val, extra=0 if task == "segm" else 300)
    result = summarize(*precision_table("lvis", mini_val, detections, task), mini_buckets)
    drop = "bbox" if task == "segm" else "segmentation"
    plain = [{k: v for k, v in d.items() if k != drop} for d in detections]
    with mock.patch.object(np, "float", float, create=True), contextlib.redirect_stdout(io.StringIO()):
        gt = LVIS(str(mini.val_json))
        reference = LVISEval(gt, LVISResults(gt, plain), task)
        reference.run()
    expected = {name.removesuffix("@300"): value * 100 for name, value in reference.get_results().items()}
    assert 5 < result.metrics["AP"] < 95
    assert set(result.metrics) - set(expected) == {"ARr", "ARc", "ARf"}
    for name, value in result.metrics.items():
        if name not in expected:
            continue
        assert value == (expected[name] if expected[name] >= 0 else pytest.approx(math.nan, nan_ok=True)), name


def test_equals_pycocotools(coco_file):
    from pycocotools.coco import COCO as CocoTruth
    from pycocotools.cocoeval import COCOeval

    truth = load_annotations(coco_file)
    truth["annotations"] = list({a["id"]: a for a in truth["annotations"]}.values())  # COCO needs them unique
    detections = noisy_detections(truth)
    buckets = FrequencyBuckets.from_edges(ClassStats.from_json(coco_file))
    context = context_of(truth, COCO, buckets)
    matches = match(context, as_detections(detections, context.ground_truth, "bbox"), "bbox")
    result = summarize_task(context, matches).summary
    with contextlib.redirect_stdout(io.StringIO()):
        gt = CocoTruth()
        gt.dataset = truth
        gt.createIndex()
        plain = [{k: v for k, v in d.items() if k != "segmentation"} for d in detections]
        reference = COCOeval(gt, gt.loadRes(plain), "bbox")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl"]
    assert [result.metrics[name] for name in names] == [value * 100 for value in reference.stats]
    of_frequent = reference.eval["precision"][:, :, buckets.members(buckets.names.index("frequent")), 0, -1]
    assert result.metrics["APf"] == pytest.approx(of_frequent.mean() * 100)
    assert math.isnan(result.class_ap[[c["name"] for c in truth["categories"]].index("Plastified paper bag")])


def test_real_lvis_sample(lvis_sample):
    truth = load_annotations(lvis_sample)
    perfect = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.9, "bbox": a["bbox"]}
        for a in truth["annotations"]
    ]
    buckets = FrequencyBuckets.from_edges(ClassStats.from_json(lvis_sample))
    result = summarize(*precision_table("lvis", truth, perfect, "bbox"), buckets)
    assert result.metrics["AP"] == pytest.approx(100)
    assert result.bucket_sizes == {"unseen": 0, "rare": 190, "common": 0, "frequent": 0}
    assert result.metrics["AR"] == pytest.approx(100)
    assert math.isnan(result.metrics["APf"])


@pytest.mark.parametrize("protocol", ["lvis", "coco"])
def test_nothing_found_is_zero(mini_val, mini_buckets, protocol):
    result = summarize(*precision_table(protocol, mini_val, [], "bbox"), mini_buckets)
    assert result.metrics["AP"] == 0
    assert result.metrics["APr"] == 0
    assert math.isnan(result.metrics["APl"])  # mini_lvis has no object of more than 96 x 96 pixels


@pytest.mark.parametrize("protocol", ["lvis", "coco"])
def test_json_without_optional_fields(mini_val, mini_buckets, protocol):
    """No federated lists, no frequency, no area, no iscrowd, annotation ids used twice: a user's own set."""
    detections = noisy_detections(mini_val)
    bare = json.loads(json.dumps(mini_val))
    for image in bare["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    for category in bare["categories"]:
        del category["frequency"]
    for annotation in bare["annotations"]:
        del annotation["area"]
        annotation["id"] = 1
    result = summarize(*precision_table(protocol, bare, detections, "bbox"), mini_buckets)
    assert result.metrics["AP"] > 5
    assert set(result.bucket_sizes.values()) != {0}


@pytest.mark.parametrize("protocol", ["lvis", "coco"])
def test_masks_with_missing_segmentations_and_null_fields(mini_val, mini_buckets, protocol):
    detections = noisy_detections(mini_val, extra=0)
    untidy = json.loads(json.dumps(mini_val))
    for annotation, segmentation in zip(untidy["annotations"], (None, [], [[1, 2, 3, 4]]), strict=False):
        annotation["segmentation"] = segmentation
        annotation["area"] = None
        annotation["iscrowd"] = None
    del untidy["annotations"][3]["segmentation"]
    untidy["images"][0]["neg_category_ids"] = None
    untidy["categories"][0]["frequency"] = 12
    result = summarize(*precision_table(protocol, untidy, detections, "segm"), mini_buckets)
    assert result.metrics["AP"] > 5


def test_detections_are_left_as_they_were(mini_val):
    detections = noisy_detections(mini_val, extra=0)
    before = copy.deepcopy(detections)
    for task in ("bbox", "segm"):
        precision_table("lvis", mini_val, detections, task)
    assert detections == before


@pytest.mark.parametrize("protocol", [COCO, PROTOCOLS["lvis"]])
@pytest.mark.parametrize("seed", range(8))
def test_tables_of_a_large_vocabulary_hold_the_classes_with_objects_only(seed, protocol):
    data, detections = small_world(seed)
    data["categories"] += [{"id": id_, "name": f"absent {id_}"} for id_ in range(100, 3000)]
    detections += [detections[0] | {"category_id": 2000}]
    buckets = FrequencyBuckets(("even", "odd"), np.arange(len(data["categories"])) % 2)
    context = context_of(data, protocol, buckets)
    matches = apply_limits(match(context, as_detections(detections, context.ground_truth, "bbox"), "bbox"), protocol)
    tables = list(area_tables(matches, context.num_objects))
    for area, table in enumerate(tables):
        assert table.classes.tolist() == np.flatnonzero(context.num_objects[:, area]).tolist()
        assert len(table.precision) == len(table.recall) == len(table.classes) < 15
    compact, _ = summarize_areas(tables, context.num_classes, buckets)
    full = summarize(*full_table(context, matches), buckets)
    np.testing.assert_equal(compact.metrics, full.metrics)
    np.testing.assert_array_equal(compact.class_ap, full.class_ap)
    np.testing.assert_array_equal(compact.class_ar, full.class_ar)
    assert compact.bucket_sizes == full.bucket_sizes


def test_ap_is_the_mean_over_classes_not_over_buckets():
    table = np.full((10, 101, 3, 4), -1.0)
    table[:, :, 0], table[:, :, 1] = 0.2, 0.8
    stats = ClassStats(("a", "b", "c"), np.array([5, 500, 500]), None, 500, "test")
    result = summarize(table, table[:, 0], FrequencyBuckets.from_edges(stats))
    assert result.metrics["AP"] == pytest.approx(50)
    assert result.metrics["APr"] == pytest.approx(20)
    assert result.metrics["APf"] == pytest.approx(80)
    assert math.isnan(result.metrics["APc"])
    assert result.bucket_sizes == {"rare": 1, "common": 0, "frequent": 1}
    assert math.isnan(result.class_ap[2])
