"""Hints about schedules, scores and pixel statistics: not for the configs of this repository, but for first ones."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.doctor.hints import hints
from lt_det.doctor.pixel_statistics import pixel_statistics_of, unfit_pixel_statistics
from lt_det.statistics import ClassStats
from lt_det.training import load_config
from tests.helpers import REPOSITORY


@pytest.fixture
def federated():
    DatasetCatalog.register("hinted_val", list)
    MetadataCatalog.get("hinted_val").set(evaluator_type="lvis")
    yield "hinted_val"
    DatasetCatalog.remove("hinted_val")
    MetadataCatalog.remove("hinted_val")


def stats(images=1020, rarest=3):
    counts = np.array([rarest, 400, 700])
    return ClassStats(("a", "b", "c"), counts, counts, images, "train.json")


def config(*opts):
    return load_config(f"{REPOSITORY}/configs/coco_softmax.yaml", [str(word) for word in opts])


def hinted(cfg, stats):
    return {finding.subject: (finding.found, finding.advice) for finding in hints(cfg, stats)}


GOOD = ("SOLVER.MAX_ITER", 1500, "SOLVER.STEPS", "(1000,)", "TEST.EVAL_PERIOD", 500, "DATASETS.TEST", "()")
GOOD += ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0001, "SOLVER.IMS_PER_BATCH", 16)


def test_nothing_to_say():
    assert hinted(config(*GOOD), stats()) == {}
    lvis = load_config(f"{REPOSITORY}/configs/lvis_eql.yaml", [])
    assert hinted(lvis, stats(images=99388)) == {}


@pytest.mark.parametrize(
    ("iterations", "found", "advice"),
    [
        (45000, "45000 iterations of 16 images are 706 epochs of 1020 images", "50 epochs are 3188 iterations"),
        (50, "50 iterations of 16 images are 0.784 epochs of 1020 images", "one epoch is 64 iterations"),
    ],
)
def test_schedules(iterations, found, advice):
    result = hinted(config(*GOOD, "SOLVER.MAX_ITER", iterations, "SOLVER.STEPS", "()"), stats())
    assert result["schedule"][0] == found
    assert advice in result["schedule"][1]


@pytest.mark.parametrize("period", [0, 45000])
def test_one_evaluation_at_the_end(federated, period):
    opts = ["SOLVER.MAX_ITER", 45000, "TEST.EVAL_PERIOD", period, "DATASETS.TEST", f"('{federated}',)"]
    found, advice = hinted(config(*GOOD, *opts), stats(images=20000))["evaluation"]
    assert f"TEST.EVAL_PERIOD is {period}" in found
    assert "4500" in advice


def test_scores_of_rare_classes(federated):
    high = config(*GOOD, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.05)
    found, advice = hinted(high, stats())["detections"]
    assert found == "SCORE_THRESH_TEST 0.05"
    assert "1 of 3" in advice
    assert "detections" not in hinted(high, stats(rarest=11))
    few = config(*GOOD, "TEST.DETECTIONS_PER_IMAGE", 100, "DATASETS.TEST", f"('{federated}',)")
    assert hinted(few, stats())["detections"][0] == "DETECTIONS_PER_IMAGE 100"


@pytest.mark.parametrize(
    ("weights", "order", "std"),
    [
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "BGR", 1.0),
        ("weights/R-101.pkl", "BGR", 1.0),
        ("detectron2://ImageNetPretrained/torchvision/R-50.pkl", "RGB", 58.395),
        ("resnet50-0676ba61.pth?matching_heuristics=True", "RGB", 58.395),
        ("detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl", "BGR", 57.375),
        ("detectron2://COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl", "BGR", 1.0),
        ("detectron2://COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x/139173657/model_final_68b088.pkl", "BGR", 57.375),
    ],
)
def test_pixel_statistics_of_published_weights(weights, order, std):
    known = pixel_statistics_of(weights)
    assert (known.format, known.std[0]) == (order, std)
    assert known.mean[0 if order == "RGB" else 2] == 123.675


def test_pixel_statistics_of_timm():
    pytest.importorskip("timm")
    for weights in ("weights/tf_efficientnet_lite0.pth", "timm://tf_efficientnet_lite0"):
        assert pixel_statistics_of(weights) == ("RGB", (127.5,) * 3, (127.5,) * 3)
    small = load_config(f"{REPOSITORY}/configs/base/small.yaml", ["MODEL.WEIGHTS", "tf_efficientnet_lite0.pth"])
    assert unfit_pixel_statistics(small) is None


def test_unfit_pixel_statistics():
    torchvision = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
    finding = unfit_pixel_statistics(config("MODEL.WEIGHTS", torchvision))
    assert "INPUT.FORMAT BGR, MODEL.PIXEL_MEAN [103.53, 116.28, 123.675]" in finding.found
    assert "INPUT.FORMAT RGB, MODEL.PIXEL_MEAN [123.675, 116.28, 103.53], MODEL.PIXEL_STD [58.395" in finding.advice
    assert not finding.fatal
    for fits in ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "output/model_final.pth", ""):
        assert unfit_pixel_statistics(config("MODEL.WEIGHTS", fits)) is None


def test_a_file_named_after_a_model_of_timm_without_such_weights():
    pytest.importorskip("timm")
    assert pixel_statistics_of("output/resnet50.my_run.pth") is None


MANY = ("MODEL.ROI_HEADS.NUM_CLASSES", 13_204)
BOXES, MASKS = "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK"


@pytest.mark.parametrize(
    ("opts", "keys"),
    [
        ((), {BOXES: "108 MB", MASKS: "5.3 GB"}),
        ((BOXES, True), {MASKS: "5.3 GB"}),
        (("MODEL.MASK_ON", False), {BOXES: "108 MB"}),
        ((MASKS, True, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 128), {BOXES: "27 MB"}),
    ],
)
def test_boxes_and_masks_for_each_of_many_classes(opts, keys):
    found, advice = hinted(config(*GOOD, *MANY, *opts), stats())["box head"]
    assert {key for key in (BOXES, MASKS) if key in advice} == set(keys)
    assert {key for key in (BOXES, MASKS) if key.rsplit(".")[-1] in found} == set(keys)
    assert all(f"{key} to True" in advice and size in advice for key, size in keys.items())


@pytest.mark.parametrize(
    "opts", [(*MANY, BOXES, True, MASKS, True), (*MANY, BOXES, True, "MODEL.MASK_ON", False), (MANY[0], 1203)]
)
def test_nothing_to_say_of_class_agnostic_heads_or_lvis(opts):
    assert "box head" not in hinted(config(*GOOD, *opts), stats())


EDGES = ("INPUT.MIN_SIZE_TRAIN", "(96, 128)", "INPUT.MAX_SIZE_TRAIN", 400)


@pytest.mark.parametrize(
    ("opts", "found"),
    [
        (EDGES, "96 to 128 pixels in training, but 800 in the evaluation"),
        ((*EDGES, "INPUT.MIN_SIZE_TEST", 60), "96 to 128 pixels in training, but 60"),
        (("INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", 150), "is 96 pixels in training, but 150"),
        (("INPUT.MAX_SIZE_TEST", 600), "MIN_SIZE_TEST 800 is above MAX_SIZE_TEST 600"),
        (("INPUT.MIN_SIZE_TRAIN", "(2000,)", "INPUT.MIN_SIZE_TEST", 1333), "MIN_SIZE_TRAIN 2000 is above"),
    ],
)
def test_image_sizes(opts, found):
    assert found in hinted(config(*GOOD, *opts), stats())["images"][0]


@pytest.mark.parametrize(
    "opts",
    [
        (*EDGES, "INPUT.MIN_SIZE_TEST", 190),
        (*EDGES, "INPUT.MIN_SIZE_TEST", 64),
        (*EDGES, "INPUT.MIN_SIZE_TEST", 0),
        (*EDGES, "INPUT.MIN_SIZE_TEST", 300, "INPUT.CROP.ENABLED", True),
        ("INPUT.MIN_SIZE_TRAIN", "(0,)"),
        ("INPUT.MIN_SIZE_TRAIN", "(480, 1200)"),
        ("INPUT.MAX_SIZE_TRAIN", 640, "INPUT.MIN_SIZE_TRAIN", "(640,)"),
    ],
)
def test_nothing_to_say_of_image_sizes(opts):
    assert "images" not in hinted(config(*GOOD, *opts), stats())
