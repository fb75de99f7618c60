"""Registration by function and by config, and what the loader makes of a file."""

import json

import cv2
import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.structures import BoxMode

import lt_det
from lt_det.data import register_dataset, register_from_config
from lt_det.data.cache.records import load_records
from lt_det.data.registration import load_dataset
from lt_det.errors import LtDetError


@pytest.fixture
def registered():
    """Names to take out of Detectron2's catalogs again."""
    names = []
    yield names
    for name in names:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


@pytest.fixture
def custom(tmp_path):
    """A COCO-format set with ids that are neither contiguous nor sorted, a crowd region, RLE and keypoints."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 60, 3), 127, np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((40, 60, 3), 127, np.uint8))
    mask = {"size": [40, 60], "counts": [100, 50, 2250]}
    data = {
        "images": [
            {"id": 9, "width": 60, "height": 40, "file_name": "b.png"},
            {"id": 4, "width": 60, "height": 40, "file_name": "a.png"},
        ],
        "categories": [{"id": 70, "name": "cup"}, {"id": 3, "name": "fork"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 4,
                "category_id": 70,
                "bbox": [1, 2, 10, 20],
                "segmentation": [[1, 2, 11, 2, 11, 22]],
            },
            {"id": 2, "image_id": 4, "category_id": 3, "bbox": [5, 5, 9, 9], "iscrowd": 1, "segmentation": mask},
            {"id": 3, "image_id": 9, "category_id": 3, "bbox": [5, 5, 9, 9], "keypoints": [5, 6, 2]},
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(data))
    return tmp_path


def test_registered_set_is_a_detectron2_set(custom, registered):
    registered.append("my_cups")
    register_dataset("my_cups", custom / "set.json", custom)
    first, second = DatasetCatalog.get("my_cups")
    assert (first["image_id"], second["image_id"]) == (4, 9)
    cup, fork = first["annotations"]
    assert (cup["category_id"], fork["category_id"]) == (1, 0)
    assert cup["bbox_mode"] == BoxMode.XYWH_ABS
    assert fork["iscrowd"] == 1
    assert isinstance(fork["segmentation"]["counts"], bytes)
    assert second["annotations"][0]["keypoints"] == [5.5, 6.5, 2]
    metadata = MetadataCatalog.get("my_cups")
    assert metadata.thing_classes == ["fork", "cup"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 70: 1}
    assert metadata.evaluator_type == "coco"
    mapped = DatasetMapper(is_train=True, augmentations=[], image_format="BGR", use_instance_mask=True)(first)
    assert mapped["instances"].gt_classes.tolist() == [1]  # Detectron2 leaves crowds out


def test_same_files_twice_is_allowed_and_other_files_are_not(custom, registered):
    registered.append("twice")
    register_dataset("twice", custom / "set.json", custom)
    register_dataset("twice", custom / "set.json", custom)
    with pytest.raises(LtDetError, match=r"'twice' is registered already with .*set\.json; choose another name"):
        register_dataset("twice", custom / "other.json", custom)


def test_another_format_under_the_same_name(custom, registered):
    registered.append("formatted")
    register_dataset("formatted", custom / "set.json", custom)
    with pytest.raises(LtDetError, match="'formatted' is registered already as coco, not lvis"):
        register_dataset("formatted", custom / "set.json", custom, "lvis")


def test_instance_without_segmentation_gets_its_box(custom):
    """Detectron2's mapper needs segmentations of all instances of an image, or stops with a KeyError."""
    data = json.loads((custom / "set.json").read_text())
    data["annotations"][1] = {"id": 2, "image_id": 4, "category_id": 3, "bbox": [5, 6, 9, 8], "segmentation": [[1, 2]]}
    (custom / "set.json").write_text(json.dumps(data))
    first, _ = load_dataset(str(custom / "set.json"), str(custom))
    assert first["annotations"][1]["segmentation"] == [[5, 6, 14, 6, 14, 14, 5, 14]]
    mapped = DatasetMapper(is_train=True, augmentations=[], image_format="BGR", use_instance_mask=True)(first)
    assert len(mapped["instances"].gt_masks) == 2


@pytest.mark.parametrize(
    "wrong", [{"thing_classes": ["cup", "fork"]}, {"thing_dataset_id_to_contiguous_id": {70: 0, 3: 1}}]
)
def test_class_names_that_a_program_sets_in_another_order(custom, registered, wrong):
    registered.append("my_cups")
    register_dataset("my_cups", custom / "set.json", custom)
    MetadataCatalog.get("my_cups").set(**wrong)
    with pytest.raises(LtDetError, match=rf"metadata of 'my_cups' have the {next(iter(wrong))} .*set\.json has"):
        DatasetCatalog.get("my_cups")


def test_class_names_that_a_program_sets_rightly(custom, registered):
    registered.append("my_cups")
    register_dataset("my_cups", custom / "set.json", custom)
    MetadataCatalog.get("my_cups").thing_classes = ("fork", "cup")
    assert len(DatasetCatalog.get("my_cups")) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda categories: categories[0].update(id=1), "class 0 is 'fork' in the first and 'cup' in the second"),
        (
            lambda categories: categories.append({"id": 99, "name": "mug"}),
            "class 2 is missing .* and 'mug' in the second",
        ),
        (lambda categories: categories.pop(0), "class 1 is 'cup' in the first and missing in the second"),
    ],
)
def test_two_sets_with_different_classes(custom, registered, change, words):
    """Without a loss or sampler that counts the classes, only the loader compares them."""
    data = json.loads((custom / "set.json").read_text())
    change(data["categories"])
    known = {category["id"] for category in data["categories"]}
    data["annotations"] = [found for found in data["annotations"] if found["category_id"] in known]
    (custom / "other.json").write_text(json.dumps(data))
    for name in ("set", "other"):
        registered.append(f"my_{name}")
        register_dataset(f"my_{name}", custom / f"{name}.json", custom)
    with pytest.raises(LtDetError, match=rf"'my_set' and 'my_other' have different classes: {words}"):
        load_records(["my_set", "my_other"])


def test_from_config_alone(custom, registered, monkeypatch):
    registered += ["by.config"]
    monkeypatch.setenv("MY_DATA", str(custom))
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    (custom / "c.yaml").write_text(
        "DATASETS:\n  REGISTER:\n    by.config: {JSON: $MY_DATA/set.json, IMAGES: $MY_DATA, FORMAT: lvis}\n"
    )
    cfg.merge_from_file(str(custom / "c.yaml"))
    register_from_config(cfg)
    assert len(DatasetCatalog.get("by.config")) == 2
    assert MetadataCatalog.get("by.config").evaluator_type == "lvis"


@pytest.mark.parametrize("entry", ["{JSON: a.json}", "a.json", "{JSON: a.json, IMAGES: b, TYPO: c}"])
def test_config_entry_with_wrong_keys(entry, tmp_path):
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    (tmp_path / "c.yaml").write_text(f"DATASETS:\n  REGISTER:\n    bad: {entry}\n")
    cfg.merge_from_file(str(tmp_path / "c.yaml"))
    with pytest.raises(LtDetError, match=r"DATASETS\.REGISTER\.bad needs the keys JSON and IMAGES"):
        register_from_config(cfg)


def test_unknown_format(custom):
    with pytest.raises(LtDetError, match="FORMAT is 'voc'; write lvis, coco"):
        register_dataset("voc_set", custom / "set.json", custom, "voc")


def test_missing_image_is_named_at_loading(custom):
    (custom / "b.png").unlink()
    with pytest.raises(LtDetError, match=r"image 9: .*b\.png does not exist"):
        load_dataset(str(custom / "set.json"), str(custom))


def test_mini_lvis_is_federated(mini, registered):
    registered.append("my_lvis")
    register_dataset("my_lvis", mini.train_json, mini.image_root)
    assert MetadataCatalog.get("my_lvis").evaluator_type == "lvis"
    records = DatasetCatalog.get("my_lvis")
    assert len(records) == 400
    assert all("neg_category_ids" in record for record in records)
    assert any(record["not_exhaustive_category_ids"] for record in records)


def test_builtin_names_are_there():
    names = ["lvis_v1_train", "lvis_v0.5_val", "coco_2017_train", "mini_lvis_train", "mini_lvis_val"]
    assert set(names) <= set(DatasetCatalog.list())


def test_real_sets_register(taco, lvis_sample, registered, tmp_path):
    """Both have no images here: empty files stand in for them, since only their presence is checked."""
    registered += ["taco", "lvis_100"]
    for name, path in (("taco", taco), ("lvis_100", lvis_sample)):
        root = tmp_path / name
        data = json.loads(path.read_text())
        for image in data["images"]:
            file = root / lt_det.io.annotations.coco_json.image_file_name(image, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        register_dataset(name, path, root)
        records = DatasetCatalog.get(name)
        assert len(records) == len(data["images"])
        assert sum(len(record["annotations"]) for record in records) == len(data["annotations"])
    assert len(MetadataCatalog.get("taco").thing_classes) == 60
    assert MetadataCatalog.get("taco").evaluator_type == "coco"
    assert MetadataCatalog.get("lvis_100").evaluator_type == "lvis"
