"""A resumed training and the processes of one training notice that the data are other ones."""

import copy
import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from detectron2.utils import comm
from torch import nn

from lt_det.data.cache import record_cache
from lt_det.data.cache.records import Records, load_records
from lt_det.data.registration import register_dataset
from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer, load_config
from lt_det.training.launch.agreement import check_same_config, check_same_data, check_same_weights
from lt_det.training.resume import data_fingerprint
from lt_det.training.resume.data_fingerprint import DataFingerprint, TrainingData
from tests.helpers import REPOSITORY, first_images
from tests.helpers.gloo import in_processes


def records(count=30):
    return [
        {
            "image_id": n,
            "file_name": f"/data/{n}.jpg",
            "width": 40,
            "height": 50,
            "annotations": [
                {"category_id": (n + k) % 3, "bbox": [1.0, 2.0, 3.0 + k, 4.0], "segmentation": [[1, 2, 3, 4, 5, 6.5]]}
                for k in range(n % 4)
            ],
        }
        for n in range(count)
    ]


@pytest.fixture
def names():
    MetadataCatalog.get("fingerprinted").set(thing_classes=["cat", "dog", "yak"])
    DatasetCatalog.register("fingerprinted", list)
    yield ["fingerprinted"]
    DatasetCatalog.remove("fingerprinted")
    MetadataCatalog.remove("fingerprinted")


def fingerprint(dataset, names=()):
    return DataFingerprint.of(build_detection_train_loader(dataset, mapper=None, total_batch_size=2), names)


def other_root(data):
    for record in data:
        record["file_name"] = record["file_name"].replace("/data/", "/scratch/job7/")


def as_integers(data):
    data[3]["annotations"][0]["bbox"] = (1, 2, 3, 4)


def halve(data):
    del data[::2]


def reverse(data):
    data.reverse()


def replace_image(data):
    data[3]["image_id"] = 1000


def rename_file(data):
    data[3]["file_name"] = "/data/other.jpg"


def add_annotation(data):
    data[3]["annotations"].append({"category_id": 0, "bbox": [1, 1, 2, 2]})


def relabel(data):
    data[3]["annotations"][0]["category_id"] = 1


def move_box(data):
    data[3]["annotations"][0]["bbox"][2] += 1e-3


def move_mask(data):
    data[3]["annotations"][0]["segmentation"][0][5] = 7


CHANGES = {
    other_root: "",
    as_integers: "",
    halve: "15 images instead of 30, 29 annotations instead of 43",
    reverse: "the same images in another order",
    replace_image: "the same number of images, 30, but different ones",
    rename_file: "the same number of images, 30, but different ones",
    add_annotation: "44 annotations instead of 43",
    relabel: "annotations with other classes",
    move_box: "annotations with other boxes or masks",
    move_mask: "annotations with other boxes or masks",
}


@pytest.mark.parametrize(("change", "said"), CHANGES.items())
def test_the_change_is_named(change, said):
    changed = records()
    change(changed)
    assert fingerprint(changed).changed_images(fingerprint(records())) == said


@pytest.mark.parametrize("change", [reverse, relabel])
def test_of_a_sample_the_same_is_said(change, monkeypatch):
    monkeypatch.setattr(data_fingerprint, "_SAMPLED", 5)
    changed = records()
    change(changed)
    assert fingerprint(changed).changed_images(fingerprint(records())) == CHANGES[change]
    for record in changed:
        for annotation in record["annotations"]:
            annotation["bbox"][0] += 1
    assert fingerprint(changed).shapes != fingerprint(records()).shapes


def test_records_of_any_content():
    """Whether they can be trained on is found out elsewhere."""
    odd = [
        {"annotations": [{"category_id": "cat", 3: {"a": [np.arange(3), None]}, "z": float("nan")}]},
        {"image_id": 2**70, "file_name": None, "annotations": [{"bbox": [2**2000, 1]}, {"category_id": 2**70}]},
        {"annotations": None},
    ]
    assert fingerprint(odd) == fingerprint(copy.deepcopy(odd))
    assert fingerprint(odd).annotations == 3
    assert fingerprint([1, 2]) == DataFingerprint()


def test_a_dataset_that_reads_images_is_not_looked_at(names):
    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise AssertionError

    assert fingerprint(Images(), names) == DataFingerprint(classes=["cat", "dog", "yak"])
    assert DataFingerprint.of([1, 2], []) == DataFingerprint()


def test_records_from_the_cache_have_the_same_fingerprint(mini, tmp_path, monkeypatch):
    monkeypatch.setenv("LT_DET_CACHE", str(tmp_path))
    register_dataset("fingerprinted_mini", mini.train_json, mini.image_root)
    try:
        parsed = load_records("fingerprinted_mini")
        monkeypatch.setattr(record_cache, "WORTH_CACHING", 0)
        cached = load_records("fingerprinted_mini")
        assert isinstance(cached, Records)
        assert fingerprint(cached, ["fingerprinted_mini"]) == fingerprint(parsed, ["fingerprinted_mini"])
        assert fingerprint(parsed).annotations == len(json.loads(mini.train_json.read_text())["annotations"])
    finally:
        DatasetCatalog.remove("fingerprinted_mini")
        MetadataCatalog.remove("fingerprinted_mini")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["cat", "yak", "dog"], r"class 1 is 'yak' instead of 'dog' \(the same names in another order\)"),
        (["cat", "dog", "gnu"], "class 2 is 'gnu' instead of 'yak';"),
        (["cat", "dog"], "2 classes instead of 3"),
    ],
)
def test_other_classes_are_refused(names, classes, said):
    before = TrainingData(fingerprint(records(), names)).state_dict()
    MetadataCatalog.remove("fingerprinted")
    MetadataCatalog.get("fingerprinted").set(thing_classes=classes)
    with pytest.raises(LtDetError, match=said):
        TrainingData(fingerprint(records(), names)).load_state_dict(before)


def test_meta_sets_are_compared_like_the_training_data(names, caplog):
    data = records()
    before = TrainingData(fingerprint(data, names), fingerprint(data[:20], names)).state_dict()
    TrainingData(fingerprint(data, names), fingerprint(data[:20], names)).load_state_dict(before)
    TrainingData(fingerprint(data, names)).load_state_dict(before)  # the config has no meta set now
    assert not messages(caplog, logging.WARNING)
    changed = TrainingData(fingerprint(data, names), fingerprint(data[:15], names))
    changed.load_state_dict(before)
    assert "meta sets have changed since the checkpoint was saved: 15 images instead of 20" in caplog.text
    caplog.clear()
    changed.load_state_dict({key: value for key, value in before.items() if key != "meta"})  # of an earlier version
    assert not messages(caplog, logging.WARNING)
    MetadataCatalog.remove("fingerprinted")
    MetadataCatalog.get("fingerprinted").set(thing_classes=["cat", "yak", "dog"])
    with pytest.raises(LtDetError, match=r"classes of the meta sets .* class 1 is 'yak'"):
        TrainingData(DataFingerprint(), fingerprint(data[:20], names)).load_state_dict(before)


@pytest.mark.parametrize(("meta_datasets", "is_kept"), [(("fingerprinted_meta",), True), ((), False)])
def test_checkpoints_hold_the_meta_sets(mini, tmp_path, meta_datasets, is_kept):
    """The fingerprint of a decoupled training; without META.DATASETS its meta images are the training images."""
    data = first_images(mini.train_json, 20)
    for image in data["images"]:
        image["file_name"] = str(mini.image_root / image["file_name"])
    meta = copy.deepcopy(data)
    kept = {image["id"] for image in meta["images"][:12]}
    meta["images"] = meta["images"][:12]
    meta["annotations"] = [a for a in meta["annotations"] if a["image_id"] in kept]
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    cfg = config_of(tmp_path, data, f"decoupled_{is_kept}")
    register_dataset("fingerprinted_meta", tmp_path / "meta.json", tmp_path)
    try:
        torch.save({"model": {}}, tmp_path / "weights.pth")
        cfg.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
        cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD = "meta"
        cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS = meta_datasets
        state = LongTailTrainer(cfg).checkpointer.checkpointables["training_data"].state_dict()
        assert ("meta" in state) == is_kept
        assert not is_kept or state["meta"]["images"] == 12
    finally:
        DatasetCatalog.remove("fingerprinted_meta")
        MetadataCatalog.remove("fingerprinted_meta")


def config_of(folder, data, name):
    """A training of two images per iteration, with the annotations `data`."""
    (folder / f"{name}.json").write_text(json.dumps(data))
    file = folder / f"{name}.yaml"
    file.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_softmax.yaml
DATASETS:
  REGISTER: {{{name}: {{JSON: {folder}/{name}.json, IMAGES: {folder}}}}}
  TRAIN: ("{name}",)
  TEST: ()
MODEL: {{ROI_HEADS: {{NUM_CLASSES: 12}}, ROI_BOX_HEAD: {{FC_DIM: 16}}}}
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 4}}
SEED: 0
OUTPUT_DIR: {folder}/output
""")
    return load_config(str(file))


def messages(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_resume_with_changed_annotations(mini, tmp_path, caplog):
    data = first_images(mini.train_json, 20)
    for image in data["images"]:
        image["file_name"] = str(mini.image_root / image["file_name"])
    LongTailTrainer(config_of(tmp_path, data, "as_trained")).checkpointer.save("model_0000001", iteration=1)

    half = copy.deepcopy(data)
    half["images"] = half["images"][:10]
    kept = {image["id"] for image in half["images"]}
    half["annotations"] = [a for a in half["annotations"] if a["image_id"] in kept]
    swapped = copy.deepcopy(data)
    one, other = swapped["categories"][3:5]
    one["name"], other["name"] = other["name"], one["name"]

    caplog.set_level(logging.INFO)
    for name, changed in (("equal", data), ("half", half)):
        caplog.clear()
        LongTailTrainer(config_of(tmp_path, changed, name)).resume_or_load(resume=True)
        warnings = [text for text in messages(caplog, logging.WARNING) if "training data have changed" in text]
        assert len(warnings) == (name == "half")
    assert "10 images instead of" in warnings[0]
    with pytest.raises(LtDetError, match=f"class 3 is '{other['name']}'|class 3 is '{one['name']}'"):
        LongTailTrainer(config_of(tmp_path, swapped, "swapped")).resume_or_load(resume=True)

    saved = tmp_path / "output" / "model_0000001.pth"
    caplog.clear()
    cfg = config_of(tmp_path, swapped, "swapped")
    cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS = str(tmp_path / "fine_tuned"), str(saved)
    LongTailTrainer(cfg).resume_or_load(resume=False)
    assert len([text for text in messages(caplog, logging.WARNING) if "class 3 is" in text]) == 1

    contents = torch.load(saved, weights_only=False)
    del contents["training_data"]
    torch.save(contents, saved)
    caplog.clear()
    LongTailTrainer(config_of(tmp_path, swapped, "swapped")).resume_or_load(resume=True)
    assert len([text for text in messages(caplog, logging.INFO) if "earlier version" in text]) == 1


def agree(folder):
    """In two processes: what may differ, and then each thing that must not."""
    rank = comm.get_rank()
    machine = folder / f"machine{rank}"
    machine.mkdir()
    cfg = config_of(machine, {}, "staged")
    cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = f"out{rank}", f"/local{rank}/a.pth", f"cuda:{rank}"
    cfg.DATALOADER.NUM_WORKERS = rank
    cfg.MODEL.LONG_TAIL.CLASS_STATS = f"counts{rank}.json"
    check_same_config(cfg)
    weights = cfg.MODEL.LONG_TAIL.REWEIGHTING
    weights.WEIGHTS = ("sqrt", "inverse_frequency")[rank]
    with pytest.raises(LtDetError, match=r"REWEIGHTING\.WEIGHTS is inverse_frequency instead of sqrt"):
        check_same_config(cfg)
    weights.WEIGHTS = "sqrt"
    cfg.SOLVER.BASE_LR = 0.1 + rank
    with pytest.raises(LtDetError, match=r"Process 1 .*: SOLVER\.BASE_LR is 1\.1 instead of 0\.1"):
        check_same_config(cfg)

    data = records()
    other_root(data if rank else [])
    check_same_data(fingerprint(data))
    with pytest.raises(LtDetError, match="training data have 15 images instead of 30"):
        check_same_data(fingerprint(data[:15] if rank else data))
    with pytest.raises(LtDetError, match="meta sets have 15 images instead of 30"):
        check_same_data(fingerprint(data[:15] if rank else data), "meta sets")

    model = nn.Linear(3, 4)
    nn.init.ones_(model.weight)
    nn.init.ones_(model.bias)
    check_same_weights(model)
    model.bias.data[2] += rank
    with pytest.raises(LtDetError, match="the weights bias differ"):
        check_same_weights(model)


def test_processes_compare_configs_data_and_weights(tmp_path):
    in_processes(2, tmp_path, agree, tmp_path)
