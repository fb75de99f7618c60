"""The names of a config's classes."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.data import register_dataset
from lt_det.data.class_names import class_names, class_names_of
from tests.helpers.models import annotations, small_config


@pytest.fixture
def sets(tmp_path):
    """A training set and a test set with other names, and the names of both datasets."""
    names = ("named_train", "named_test")
    for name in names:
        data = annotations()
        data["categories"] = [{"id": 9 - k, "name": f"{name}{k}"} for k in range(len(data["categories"]))]
        data["annotations"] = []
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
        register_dataset(name, tmp_path / f"{name}.json", tmp_path)
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_the_training_set_comes_first(sets, tmp_path):
    cfg = small_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.OUTPUT_DIR = sets[:1], sets[1:], ""
    assert class_names(cfg) == tuple(f"named_train{k}" for k in (4, 3, 2, 1, 0))
    (tmp_path / "named_train.json").unlink()
    assert class_names(cfg) == tuple(f"named_test{k}" for k in (4, 3, 2, 1, 0))
    (tmp_path / "named_test.json").write_text("{")
    assert class_names(cfg) == ()


def test_names_of_detectron2(sets):
    names = class_names_of(["lvis_v1_train"], [])
    assert (len(names), names[161]) == (1203, "bull")
    assert class_names_of([], ["coco_2017_val"])[:2] == ("person", "bicycle")
    assert class_names_of(["no such"], []) == ()
