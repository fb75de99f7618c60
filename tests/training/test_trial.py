"""What first happens on a real record is tried before the first iteration: one sentence with the set and the file."""

import copy
import json
import random
import shutil
import sys

import numpy as np
import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_utils

from lt_det.data import register_dataset
from lt_det.doctor.config_checks import examine_config
from lt_det.errors import LtDetError
from lt_det.modeling import LongTailPredictor
from lt_det.training.config_loading import load_config, load_lazy_config
from lt_det.training.lazy_trainer import LazyTrainer
from lt_det.training.preflight import check_expected_results, check_lazy_config
from lt_det.training.trainer import LongTailTrainer
from lt_det.training.trial import random_numbers_kept, try_evaluation
from tests.helpers import REPOSITORY
from tests.helpers.mutations import mutated, tiny_config, write_tiny_set


@pytest.fixture
def data(tmp_path):
    return write_tiny_set(tmp_path / "data")


@pytest.fixture
def started(data, tmp_path):
    """A function that starts a training of the tiny config, with other keys, up to its first iteration."""
    names = set(DatasetCatalog.list())

    def start(**changes):
        config = tiny_config(data, tmp_path.name)
        for key, value in changes.items():
            config = mutated(config, key.replace("__", "."), value)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        return LongTailTrainer(load_config(str(tmp_path / "config.yaml"), ["OUTPUT_DIR", str(tmp_path / "out")]))

    yield start
    for name in set(DatasetCatalog.list()) - names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def change(file, function):
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        function(annotation)
    file.write_text(json.dumps(content))


def as_rle(annotation):
    rle = mask_utils.frPyObjects(annotation["segmentation"], 48, 48)[0]
    annotation["segmentation"] = {"size": [48, 48], "counts": rle["counts"].decode()}


def test_masks_as_rle(data, started):
    change(data / "train.json", lambda annotation: as_rle(annotation) if annotation["id"] == 3 else None)
    with pytest.raises(LtDetError, match=r"_train'.*train1\.png.*INPUT\.MASK_FORMAT to bitmask"):
        started(MODEL__MASK_ON=True)
    change(data / "train.json", lambda annotation: as_rle(annotation) if annotation["id"] != 3 else None)
    assert started(MODEL__MASK_ON=True, INPUT__MASK_FORMAT="bitmask")


def test_sets_with_and_without_masks(data, started, tmp_path):
    change(data / "val.json", lambda annotation: annotation.pop("segmentation"))
    names = [f"{tmp_path.name}_train", f"{tmp_path.name}_val"]
    with pytest.raises(LtDetError, match=rf"'{names[1]}': MODEL\.MASK_ON .*val0\.png"):
        started(MODEL__MASK_ON=True, DATASETS__TRAIN=names, DATASETS__TEST=[])
    assert started(DATASETS__TRAIN=names, DATASETS__TEST=[])


def test_a_network_that_learns_segmentation_on_boxes(started):
    with pytest.raises(LtDetError, match=r"0.*\.(png|jpg) has no 'sem_seg_file_name'"):
        started(MODEL__META_ARCHITECTURE="PanopticFPN", MODEL__MASK_ON=True).train()


def test_a_crop_without_shapely(started, monkeypatch):
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(LtDetError, match=r"_train'.*train0\.png.*pip install shapely"):
        started(MODEL__MASK_ON=True, INPUT__CROP={"ENABLED": True})


@pytest.mark.parametrize("part", ["train", "val"])
def test_an_image_beyond_the_limit_of_pillow(data, started, monkeypatch, part):
    content = json.loads((data / f"{part}.json").read_text())
    content["images"][1].update(width=96, height=80)
    (data / f"{part}.json").write_text(json.dumps(content))
    Image.new("RGB", (96, 80)).save(data / "images" / f"{part}1.png")
    assert started()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with pytest.raises(LtDetError, match=rf"_{part}': .*{part}1\.png of 96 x 80 pixels.*at most 6000 pixels"):
        started()


def test_an_evaluation_that_fails(started, monkeypatch):
    def fails(self, predictions, proposals):
        raise TypeError("no scores")

    monkeypatch.setattr(LongTailPredictor, "predict_probs", fails)
    with pytest.raises(LtDetError, match=r"_val': the evaluation of the image .*val\d\.png fails \(TypeError"):
        started()


@pytest.mark.parametrize(
    ("expected", "named"),
    [
        ([["bbox", "AP", 36.1]], r"\['bbox', 'AP', 36\.1\]"),
        (["bbox", "AP", 36.1, 0.5], "bbox"),
        ([["bbox", "AP", "x", 0.5]], "'x'"),
        ([["bbox", "AP", float("nan"), 0.5]], "nan"),
        ([["bbox", "AP", 36.1, -1]], "-1"),
        ("bbox", "'bbox'"),
    ],
)
def test_expected_results_of_the_wrong_form(expected, named):
    with pytest.raises(LtDetError, match=rf"EXPECTED_RESULTS .*{named}"):
        check_expected_results(expected, ["one"])


def test_expected_results():
    check_expected_results([], ["one", "two"])
    check_expected_results([["bbox", "AP", 36, 0.5]], ("one",))
    with pytest.raises(LtDetError, match="has 2"):
        check_expected_results([["bbox", "AP", 36, 0.5]], ["one", "two"])


@pytest.mark.parametrize("row", [["box", "AP", 0, 101], ["bbox", "AQ", 0, 101], ["segm", "AP", 0, 101]])
def test_expected_results_that_no_evaluation_computes(started, row):
    with pytest.raises(LtDetError, match=rf"EXPECTED_RESULTS names {row[0]} {row[1]}"):
        started(TEST__EXPECTED_RESULTS=[row])
    assert started(TEST__EXPECTED_RESULTS=[["bbox", "AP50", 0, 101]])


def test_the_trial_changes_neither_random_numbers_nor_the_network(started, data):
    trainer = started(INPUT__RANDOM_FLIP="horizontal")
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    weights = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trainer.model.train()
    name = trainer.cfg.DATASETS.TEST[0]
    assert try_evaluation(trainer.model, trainer.build_test_loader(trainer.cfg, name), name)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert trainer.model.training
    assert all(torch.equal(weights[name], weight) for name, weight in trainer.model.state_dict().items())
    with random_numbers_kept():
        torch.rand(3), random.random(), np.random.rand()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[:2]


def test_a_mapper_of_ones_own(started, data, tmp_path):
    class Trainer(LongTailTrainer):
        @classmethod
        def build_train_loader(cls, cfg):
            from lt_det.data.loader import build_train_loader

            return build_train_loader(cfg, lambda record: {}["no such key"], in_equipped_trainer=True)

    cfg = started().cfg
    with pytest.raises(LtDetError, match=r"_train'.*train0\.png \(KeyError: no such key, test_trial\.py line \d+"):
        Trainer(cfg)


@pytest.fixture
def lazy_config(data, tmp_path, started):
    """The LazyConfig of mini_lvis, for the tiny set."""
    started()  # registers the sets
    cfg = load_lazy_config(str(REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"))
    cfg.dataloader.train.dataset.names = [f"{tmp_path.name}_train"]
    cfg.dataloader.test.dataset.names = f"{tmp_path.name}_val"
    cfg.dataloader.evaluator.stats.datasets = [f"{tmp_path.name}_train"]
    cfg.dataloader.train.num_workers = cfg.dataloader.test.num_workers = 0
    cfg.dataloader.train.total_batch_size = 2
    cfg.model.roi_heads.num_classes = 2
    cfg.model.roi_heads.box_predictor.loss.datasets = [f"{tmp_path.name}_train"]
    cfg.train.device = "cpu"
    cfg.train.output_dir = str(tmp_path / "lazy")
    (tmp_path / "lazy").mkdir()
    return cfg


def test_a_lazy_config(data, lazy_config):
    change(data / "train.json", as_rle)
    lazy_config.dataloader.train.mapper.use_instance_mask = True
    with pytest.raises(LtDetError, match=r"_train'.*train0\.png.*instance_mask_format"):
        LazyTrainer(lazy_config)


def with_meta_set(data, tmp_path):
    """The keys of a decoupled training whose meta set are the images of the test set, and what is unreadable there."""
    (data / "images" / "val1.png").write_bytes(b"no image")
    weights = tmp_path / "weights.pth"
    torch.save({"model": {}}, weights)
    return {
        "MODEL__WEIGHTS": str(weights),
        "MODEL__LONG_TAIL": {"SECOND_STAGE": {"METHOD": "meta", "META": {"DATASETS": [f"{tmp_path.name}_val"]}}},
        "DATASETS__TEST": [],
    }


def test_records_of_a_meta_set(data, started, tmp_path):
    keys = with_meta_set(data, tmp_path)
    change(data / "val.json", lambda annotation: annotation.update(image_id=1))  # the unreadable one
    with pytest.raises(LtDetError, match=r"meta set '.*_val'.*val1\.png"):
        started(**keys)
    findings = {finding.subject: finding for finding in examine_config(str(tmp_path / "config.yaml"))}
    assert findings["meta set"].fatal
    assert "val1.png" in findings["meta set"].advice
    shutil.copy(data / "images" / "val0.png", data / "images" / "val1.png")
    assert started(**keys)
    findings = {finding.subject: finding for finding in examine_config(str(tmp_path / "config.yaml"))}
    assert not findings["meta set"].fatal


@pytest.fixture
def lazy_meta_config(data, tmp_path, lazy_config):
    cfg = lazy_config
    cfg.train.second_stage, cfg.train.init_checkpoint = "meta", with_meta_set(data, tmp_path)["MODEL__WEIGHTS"]
    cfg.dataloader.meta = copy.deepcopy(cfg.dataloader.train)
    cfg.dataloader.meta.dataset.names = f"{tmp_path.name}_val"
    return cfg


def test_records_of_a_lazy_meta_set(data, lazy_meta_config):
    change(data / "val.json", lambda annotation: annotation.update(image_id=1))
    with pytest.raises(LtDetError, match=r"meta set '.*_val'.*val1\.png"):
        LazyTrainer(lazy_meta_config)


def test_classes_and_registration_of_a_lazy_meta_set(data, tmp_path, lazy_meta_config):
    check_lazy_config(lazy_meta_config, training=True, resume=False)
    lazy_meta_config.dataloader.meta.dataset.names = "nowhere"
    with pytest.raises(LtDetError, match="nowhere"):
        check_lazy_config(lazy_meta_config, training=True, resume=False)
    content = json.loads((data / "val.json").read_text())
    content["categories"][0]["name"] = "c"
    (data / "other.json").write_text(json.dumps(content))
    register_dataset(f"{tmp_path.name}_other", data / "other.json", data / "images")
    lazy_meta_config.dataloader.meta.dataset.names = f"{tmp_path.name}_other"
    with pytest.raises(LtDetError, match=r"dataloader\.meta.*c in place of a"):
        check_lazy_config(lazy_meta_config, training=True, resume=False)


def test_a_training_set_without_objects(data, started, caplog):
    """Some images without annotations may be there on purpose, but a set of nothing else teaches nothing."""
    started(DATALOADER__FILTER_EMPTY_ANNOTATIONS=False)
    assert "background only" not in caplog.text
    content = json.loads((data / "train.json").read_text())
    (data / "train.json").write_text(json.dumps(content | {"annotations": []}))
    started(DATALOADER__FILTER_EMPTY_ANNOTATIONS=False)
    assert f"'{data.parent.name}_train' has an object, so the detector learns background only" in caplog.text


@pytest.fixture
def own_function(data, started, tmp_path):
    """A function that registers the tiny training set, changed, as a function of a user's own."""
    started()
    records = DatasetCatalog.get(f"{tmp_path.name}_train")
    classes = MetadataCatalog.get(f"{tmp_path.name}_train").thing_classes

    def register(function):
        changed = copy.deepcopy(list(records))
        for record in changed:
            function(record)
        name = f"{tmp_path.name}_own{len(DatasetCatalog.list())}"
        DatasetCatalog.register(name, lambda: changed)
        MetadataCatalog.get(name).thing_classes = classes
        return name

    return register


def test_boxes_of_a_users_own_function(own_function, started, caplog):
    def as_corners(record):
        for annotation in record["annotations"]:
            annotation["bbox_mode"] = 0

    started(DATASETS__TRAIN=[own_function(lambda record: None)])
    assert "boxes hold NaN" not in caplog.text
    started(DATASETS__TRAIN=[own_function(as_corners)])
    assert "boxes hold NaN, have no area or lie outside of their image" in caplog.text


def test_a_record_without_annotations(own_function, started):
    with pytest.raises(LtDetError, match=r"_own.*png has no 'annotations'; give it a list"):
        started(DATASETS__TRAIN=[own_function(lambda record: record.pop("annotations"))])
