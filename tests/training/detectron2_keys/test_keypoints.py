"""Keypoint sets from DATASETS.REGISTER: names, flips, training and AP."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluators
from detectron2.structures import Boxes, Instances

from lt_det.data import keypoints, register_dataset
from lt_det.data.keypoints import keypoint_names, mirrored_pairs, prepare_keypoints
from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer
from lt_det.training.config_loading import load_config
from tests.helpers.keypoint_set import NAMES, write_set

ON = ["MODEL.KEYPOINT_ON", "True"]
FLIPS = [*ON, "INPUT.RANDOM_FLIP", "horizontal"]
SIGMAS = ["TEST.KEYPOINT_OKS_SIGMAS", "[0.1, 0.1, 0.1]"]


def changed(config, change):
    """The config's set after `change` of its content."""
    file = config.with_suffix(".json")
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def test_a_keypoint_set_of_ones_own_trains_and_is_evaluated(small_config):
    config = small_config()
    changed(config, lambda data: data["annotations"][0].pop("keypoints"))  # the first of its image has none
    changed(config, lambda data: data["annotations"][3].pop("num_keypoints"))
    cfg = load_config(str(config), [*FLIPS, *SIGMAS])
    trainer = LongTailTrainer(cfg)
    trainer.train()
    losses = trainer.storage.latest()
    assert losses["loss_keypoint"][0] > 0
    assert set(trainer._last_eval_results) == {"bbox", "keypoints"}
    assert 0 <= trainer._last_eval_results["keypoints"]["AP"] <= 100


def test_a_flipped_image_swaps_left_and_right(small_config):
    cfg = load_config(str(small_config()), FLIPS)
    sample = next(iter(LongTailTrainer.build_train_loader(cfg)))[0]
    points = sample["instances"].gt_keypoints.tensor[0, :, 0]
    seen = set()
    for _ in range(20):
        for sample in next(iter(LongTailTrainer.build_train_loader(cfg))):
            points = sample["instances"].gt_keypoints.tensor[0, :, 0]
            # The nose is drawn left of both eyes: after a flip it is the rightmost, and left and right have changed.
            seen.add((bool(points[0] > points[1]), bool(points[1] > points[2])))
    assert seen == {(False, False), (True, False)}


def test_perfect_keypoints_have_an_ap_of_100(small_config):
    config = small_config()
    cfg = load_config(str(config), [*ON, *SIGMAS])
    name = cfg.DATASETS.TEST[0]
    evaluator = LongTailTrainer.build_evaluator(cfg, name)
    assert isinstance(evaluator, DatasetEvaluators)
    evaluator.reset()
    for record in DatasetCatalog.get(name):
        objects = record["annotations"]
        instances = Instances((record["height"], record["width"]))
        instances.pred_boxes = Boxes([[x, y, x + w, y + h] for x, y, w, h in (o["bbox"] for o in objects)])
        instances.scores = torch.ones(len(objects))
        instances.pred_classes = torch.tensor([o["category_id"] for o in objects])
        instances.pred_keypoints = torch.tensor([o["keypoints"] for o in objects]).reshape(len(objects), 3, 3)
        evaluator.process([record], [{"instances": instances}])
    results = evaluator.evaluate()
    assert results["keypoints"]["AP"] == pytest.approx(100)
    assert results["bbox"]["AP"] == pytest.approx(100)


def test_a_set_without_sigmas_says_that_keypoints_are_not_evaluated(small_config, caplog):
    cfg = load_config(str(small_config()), ON)
    assert not isinstance(LongTailTrainer.build_evaluator(cfg, cfg.DATASETS.TEST[0]), DatasetEvaluators)
    assert "TEST.KEYPOINT_OKS_SIGMAS" in caplog.text


@pytest.mark.parametrize("sigmas", ["[0.1, 0.1]", "[0.1, 0.1, 0.0]", "[0.1, 0.1, 'a']"])
def test_wrong_sigmas_are_refused(small_config, sigmas):
    def evaluator():
        cfg = load_config(str(small_config()), [*ON, "TEST.KEYPOINT_OKS_SIGMAS", sigmas])
        return LongTailTrainer.build_evaluator(cfg, cfg.DATASETS.TEST[0])

    with pytest.raises(LtDetError, match="KEYPOINT_OKS_SIGMAS"):
        evaluator()


@pytest.mark.parametrize(
    ("names", "pairs", "alone"),
    [
        (["nose", "left_eye", "right_eye"], [("left_eye", "right_eye")], []),
        (["eyeRight", "eyeLeft", "LEFT ear", "RIGHT ear"], [("eyeRight", "eyeLeft"), ("LEFT ear", "RIGHT ear")], []),
        (["bright", "cleft", "top"], [], []),
        (["left_eye", "nose"], [], ["left_eye"]),
    ],
)
def test_pairs_follow_from_the_names(names, pairs, alone):
    assert mirrored_pairs(names) == (pairs, alone)


def test_a_side_without_a_counterpart_needs_a_flip_map(small_config):
    names = ["nose", "left_eye", "eye_2"]
    cfg = load_config(str(small_config(keypoints=names)), FLIPS)
    with pytest.raises(LtDetError, match="KEYPOINT_FLIP_MAP"):
        prepare_keypoints(cfg)
    cfg.INPUT.RANDOM_FLIP = "none"
    prepare_keypoints(cfg)
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    with pytest.raises(LtDetError, match="KEYPOINT_FLIP_MAP"):
        prepare_keypoints(cfg)
    entry = ", KEYPOINT_FLIP_MAP: [[left_eye, eye_2]]"
    cfg = load_config(str(small_config(entry=entry, keypoints=names)), FLIPS)
    prepare_keypoints(cfg)
    assert MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).keypoint_flip_map == [("left_eye", "eye_2")]


@pytest.mark.parametrize(("entry", "warned"), [("", True), (", KEYPOINT_FLIP_MAP: []", False)])
def test_names_without_a_side_are_flipped_with_a_warning(small_config, caplog, entry, warned):
    cfg = load_config(str(small_config(entry=entry, keypoints=["a", "b", "c"])), FLIPS)
    prepare_keypoints(cfg)
    assert ("KEYPOINT_FLIP_MAP" in caplog.text) == warned


@pytest.mark.parametrize(
    "pairs", ["[[left_eye]]", "[[left_eye, right_eye], [nose, left_eye]]", "left_eye", "[[left_eye, chin]]", "[[1, 2]]"]
)
def test_a_wrong_flip_map_is_refused(small_config, pairs):
    config = small_config(entry=f", KEYPOINT_FLIP_MAP: {pairs}")
    with pytest.raises(LtDetError, match="KEYPOINT_FLIP_MAP"):
        prepare_keypoints(load_config(str(config), FLIPS))


def test_the_number_of_keypoints_is_checked(small_config):
    cfg = load_config(str(small_config()), [*ON, "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", "17"])
    with pytest.raises(LtDetError, match="NUM_KEYPOINTS is 17"):
        prepare_keypoints(cfg)
    with pytest.raises(LtDetError, match="NUM_KEYPOINTS is 17"):
        LongTailTrainer.build_evaluator(cfg, cfg.DATASETS.TEST[0])


def other_names(data):
    data["categories"][1]["keypoints"] = ["nose", "mouth", "chin"]


def too_few_values(data):
    data["annotations"][2]["keypoints"] = [1, 2, 2]


def no_names(data):
    for category in data["categories"]:
        del category["keypoints"]


@pytest.mark.parametrize("change", [other_names, too_few_values, no_names])
def test_mistakes_in_keypoints_are_refused_where_they_are_trained(small_config, change):
    config = small_config()
    changed(config, change)
    cfg = load_config(str(config), ON)
    with pytest.raises(LtDetError, match="keypoints"):
        LongTailTrainer.build_train_loader(cfg)
    cfg.MODEL.KEYPOINT_ON = False
    LongTailTrainer.build_train_loader(cfg)


def test_sets_with_other_keypoints_are_refused_together(small_config, tmp_path):
    cfg = load_config(str(small_config()), ON)
    other = f"{cfg.DATASETS.TRAIN[0]}_other"
    register_dataset(other, write_set(tmp_path, other, keypoints=["a", "b", "c"]), tmp_path)
    cfg.DATASETS.TRAIN = (*cfg.DATASETS.TRAIN, other)
    with pytest.raises(LtDetError, match="same keypoints"):
        prepare_keypoints(cfg)


def test_a_registered_flip_map_gives_the_names_at_once(tmp_path):
    """Detectron2's LazyConfigs of keypoints ask for them while they are loaded."""
    name = f"at_once_{abs(hash(str(tmp_path)))}"
    file = write_set(tmp_path, name)
    pairs = [("left_eye", "right_eye")]
    register_dataset(name, file, tmp_path, keypoint_flip_map=pairs)
    assert MetadataCatalog.get(name).keypoint_names == NAMES
    assert keypoint_names(name) == NAMES
    register_dataset(name, file, tmp_path, keypoint_flip_map=pairs)
    with pytest.raises(LtDetError, match="KEYPOINT_FLIP_MAP"):
        register_dataset(name, file, tmp_path, keypoint_flip_map=[])


def test_the_users_flip_map_takes_the_place_of_a_derived_one(tmp_path):
    name = f"derived_{abs(hash(str(tmp_path)))}"
    file = write_set(tmp_path, name)
    register_dataset(name, file, tmp_path)
    keypoints._set_flip_map(name, NAMES, flips=False)  # as a training does
    assert MetadataCatalog.get(name).keypoint_flip_map
    register_dataset(name, file, tmp_path, keypoint_flip_map=[])
    assert MetadataCatalog.get(name).keypoint_flip_map == []


def test_an_instance_without_keypoints_is_invisible_in_every_one(small_config):
    config = small_config()
    changed(config, lambda data: data["annotations"][1].pop("keypoints"))
    cfg = load_config(str(config), ON)
    record = next(r for r in DatasetCatalog.get(cfg.DATASETS.TRAIN[0]) if r["image_id"] == 1)
    shape = [np.asarray(annotation["keypoints"]).reshape(-1, 3) for annotation in record["annotations"]]
    assert [visible[:, 2].tolist() for visible in shape] == [[2, 2, 2], [0, 0, 0]]
