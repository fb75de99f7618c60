"""The feature cache of a small detector: content, resumption, processes, keys and mistakes."""

import json
import logging
import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from torch.multiprocessing import ProcessExitedException

from lt_det.bakeoff.cache.cache import FeatureCache
from lt_det.bakeoff.features import filling
from lt_det.bakeoff.features.extraction import compute_features
from lt_det.errors import LtDetError
from lt_det.io.lock import folder_lock
from tests.helpers.frozen_detector import (
    NUM_CLASSES,
    NUM_TRAIN,
    NUM_VAL,
    contents,
    load,
    write_checkpoint,
    write_detector,
)
from tests.helpers.gloo import in_processes

CHUNK = 2  # images, so that there are six chunks of RoIs


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(filling, "IMAGES_PER_CHUNK", CHUNK)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_detector(tmp_path_factory.mktemp("bakeoff"))


@pytest.fixture(scope="module")
def folder(config):
    """A finished cache."""
    folder = config.parent / "cache"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(filling, "IMAGES_PER_CHUNK", CHUNK)
        compute_features(load(config), folder)
    return folder


@pytest.fixture
def names(config):
    return f"{config.parent.name}_train", f"{config.parent.name}_val"


def annotations(config, part):
    return json.loads((config.parent / f"{part}.json").read_text())


def test_content(config, folder, names):
    train, val = names
    cache = FeatureCache.open(folder)
    assert (cache.num_classes, cache.num_stages, cache.datasets) == (NUM_CLASSES, 1, [val, train])
    rois = cache.rois()
    boxes = annotations(config, "train")["annotations"]
    assert rois.features.dtype == np.float16
    assert rois.image_ids == [10 + index for index in range(NUM_TRAIN)]
    assert sorted(set(rois.images)) == list(range(NUM_TRAIN))
    assert isinstance(rois.features, np.memmap)
    exact = rois.ious > 0.999
    found = sorted(zip(rois.images[exact], rois.labels[exact], strict=True))
    assert found == sorted((box["image_id"] - 10, box["category_id"] - 5) for box in boxes)
    assert set(rois.labels[rois.images == 1]) == {NUM_CLASSES}  # an image without objects
    for name, number in ((train, NUM_TRAIN), (val, NUM_VAL)):
        table = cache.proposals(name)
        assert len(table.image_ids) == number
        assert len(table.start) == number + 1
        assert len(table.features) == len(table.proposals) == 1
        assert table.features[0].dtype == table.proposals[0].dtype == np.float32
        assert len(table.features[0]) == len(table.proposals[0]) == table.start[-1]
        assert table.sizes.tolist() == [[48, 48 + 4 * (index % 3)] for index in range(number)]
        np.testing.assert_array_equal(table.network_sizes, table.sizes)  # MIN_SIZE_TEST is their height


def test_second_call_computes_nothing(config, folder, monkeypatch):
    monkeypatch.setattr(filling, "build_loader", None)
    before = contents(folder)
    compute_features(load(config), folder)
    assert contents(folder) == before


class Interrupt:
    """Progress that stops the work at an image; `kill` does it as the operating system would."""

    def __init__(self, at, kill=False):
        self.at, self.kill = at, kill

    def __call__(self, steps):
        for step in steps:
            if step == self.at:
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise KeyboardInterrupt
            yield step


@pytest.mark.parametrize("at", [0, 5, 12, 20])
def test_interrupted_and_continued_cache_is_the_same(config, folder, tmp_path, at):
    cfg = load(config)
    with pytest.raises(KeyboardInterrupt):
        compute_features(cfg, tmp_path / "cache", track=Interrupt(at))
    with pytest.raises(LtDetError, match="unfinished"):
        FeatureCache.open(tmp_path / "cache")
    steps = []
    compute_features(cfg, tmp_path / "cache", track=lambda images: steps.extend(images) or iter(steps))
    assert len(steps) <= NUM_TRAIN * 2 + NUM_VAL - at + CHUNK
    assert contents(tmp_path / "cache") == contents(folder)


def compute(config, folder, track=iter, **options):
    """In a process of its own, or one of several."""
    filling.IMAGES_PER_CHUNK = CHUNK
    torch.set_num_threads(1)
    compute_features(load(config), folder, track=track, **options)


def test_killed_process(config, folder, tmp_path):
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        in_processes(1, tmp_path, compute, config, tmp_path / "cache", Interrupt(9, kill=True))
    in_processes(1, tmp_path, compute, config, tmp_path / "cache")
    assert contents(tmp_path / "cache") == contents(folder)


def test_two_processes_give_the_cache_of_one(config, folder, tmp_path):
    in_processes(2, tmp_path, compute, config, tmp_path / "cache")
    assert contents(tmp_path / "cache") == contents(folder)


def test_two_processes_continue_the_work_of_one(config, folder, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compute_features(load(config), tmp_path / "cache", track=Interrupt(7))
    in_processes(2, tmp_path, compute, config, tmp_path / "cache")
    assert contents(tmp_path / "cache") == contents(folder)


@pytest.mark.slow
def test_processes_of_the_launcher(config, folder, tmp_path, monkeypatch):
    """They do not see the patched size of a chunk, so the columns are the same and the state of the tables is not."""
    monkeypatch.undo()
    steps = []
    cache = compute_features(
        load(config),
        tmp_path / "cache",
        num_processes=2,
        track=lambda images: (steps.append(image) or image for image in images),
    )
    assert len(steps) == 2 * NUM_TRAIN + NUM_VAL
    found, expected = contents(cache.folder), contents(folder)
    assert {name for name in expected if found[name] != expected[name]} <= {
        name for name in expected if name.endswith("table.json")
    }


def test_a_process_that_fails(tmp_path, monkeypatch):
    monkeypatch.undo()
    broken = write_detector(tmp_path)
    (tmp_path / "train7.png").write_bytes(b"no image")
    with pytest.raises(LtDetError, match=f"{tmp_path / 'cache'} has failed.*run the same command again"):
        compute_features(load(broken), tmp_path / "cache", num_processes=2)


def test_loading_processes_change_nothing(config, folder, tmp_path):
    compute_features(load(config, "DATALOADER.NUM_WORKERS", 2), tmp_path / "cache")
    assert contents(tmp_path / "cache") == contents(folder)


def test_passes_differ_by_augmentation_and_sampling(config, folder, tmp_path):
    rois = compute_features(load(config), tmp_path / "cache", passes=2, dtype="float32", datasets=[]).rois()
    one = FeatureCache.open(folder).rois()
    number = len(one.labels)
    np.testing.assert_array_equal(rois.features[:number].astype(np.float16), one.features)
    assert set(rois.images[number:]) == set(one.images)
    second = {row.tobytes() for row in rois.features[number:]}
    repeated = sum(row.tobytes() in second for row in rois.features[:number])
    assert repeated < number / 2


def test_limits(config, tmp_path, names, caplog):
    train, val = names
    ground_truth = len(annotations(config, "train")["annotations"])
    options = {"max_rois": ground_truth + 60, "max_training_images": 3}
    with caplog.at_level(logging.INFO, logger="lt_det"):
        cache = compute_features(load(config), tmp_path / "cache", **options)
    rois = cache.rois()
    assert len(rois.labels) < ground_truth + 80
    assert (rois.ious > 0.999).sum() == ground_truth
    assert rois.weights.max() > 2
    assert len(cache.proposals(val).image_ids) == NUM_VAL
    assert len(cache.proposals(train).image_ids) == 3
    assert 10 in cache.proposals(train).image_ids  # the only image of class 2
    assert f"{ground_truth + 60} RoIs" in caplog.text
    assert "GB" in caplog.text
    assert "minutes left" in caplog.text


def test_some_training_images_stand_for_all(config, folder, tmp_path, names, caplog):
    with caplog.at_level(logging.INFO, logger="lt_det"):
        cache = compute_features(load(config), tmp_path / "cache", max_roi_images=6, datasets=names[1:])
    rois, every = cache.rois(), FeatureCache.open(folder).rois()
    chosen = sorted(set(rois.images))
    assert len(chosen) == 6
    assert 0 in chosen  # the only image of class 2
    assert rois.image_ids == every.image_ids
    same = np.isin(every.images, chosen)
    np.testing.assert_array_equal(rois.features, every.features[same])
    np.testing.assert_array_equal(rois.images, every.images[same])
    factors = [set((rois.weights / every.weights[same])[rois.images == image].round(5)) for image in chosen]
    assert all(len(of_image) == 1 for of_image in factors)
    factor = dict(zip(chosen, (of_image.pop() for of_image in factors), strict=True))
    assert np.mean(list(factor.values())) == pytest.approx(1, abs=1e-4)
    assert factor[0] == min(factor.values())
    assert max(factor.values()) > factor[0]
    assert "6 of 11 training images" in caplog.text
    with pytest.raises(LtDetError, match="max_roi_images"):
        compute_features(load(config), cache.folder, datasets=names[1:])


def test_limit_below_the_ground_truth(config, tmp_path):
    with pytest.raises(LtDetError, match=r"max_rois is 5\b.* ground-truth"):
        compute_features(load(config), tmp_path / "cache", max_rois=5)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"passes": 0}, "passes"),
        ({"dtype": "int8"}, "dtype"),
        ({"background_fraction": 0}, "background_fraction"),
        ({"max_rois": 0}, "max_rois"),
        ({"max_training_images": -1}, "max_training_images"),
        ({"max_roi_images": 0}, "max_roi_images"),
    ],
)
def test_option_that_makes_no_sense(options, name):
    with pytest.raises(LtDetError, match=name):
        compute_features(None, "", **options)


def test_key_does_not_hold_what_changes_no_feature(config, folder, tmp_path, monkeypatch):
    """Loss, thresholds, device and the checkpoint's place."""
    monkeypatch.setattr(filling, "build_loader", None)
    copy = shutil.copy(config.parent / "model_final.pth", tmp_path / "other.pth")
    cfg = load(config, "MODEL.WEIGHTS", copy, "MODEL.LONG_TAIL.LOSS.NAME", "seesaw")
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.5
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    compute_features(cfg, folder)


def test_cache_of_another_checkpoint(config, folder, tmp_path):
    other = write_checkpoint(load(config), tmp_path, seed=1)
    with pytest.raises(LtDetError, match=r"differs in checkpoint;"):
        compute_features(load(config, "MODEL.WEIGHTS", other), folder)


@pytest.mark.parametrize(
    ("overrides", "options", "name"),
    [
        (("INPUT.MIN_SIZE_TEST", 40), {}, "INPUT.MIN_SIZE_TEST"),
        (("MODEL.ROI_HEADS.POSITIVE_FRACTION", 0.5), {}, "MODEL.ROI_HEADS.POSITIVE_FRACTION"),
        ((), {"passes": 2}, "options.passes"),
        (("SEED", 4), {}, "seed"),
    ],
)
def test_cache_of_another_config(config, folder, overrides, options, name):
    with pytest.raises(LtDetError, match=rf"differs in {name};"):
        compute_features(load(config, *overrides), folder, **options)


def test_cache_of_older_annotations(config, folder, names):
    file = config.parent / "val.json"
    before = file.stat()
    try:
        os.utime(file)
        with pytest.raises(LtDetError, match=rf"differs in data\.{names[1]};"):
            compute_features(load(config), folder)
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_cache_of_a_function_whose_records_change(config, tmp_path, names):
    cfg = load(config)
    records = DatasetCatalog.get(names[1])[:2]
    classes = MetadataCatalog.get(names[1]).thing_classes
    name = f"{config.parent.name}_function"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).thing_classes = classes
    compute_features(cfg, tmp_path / "cache", datasets=[name])
    compute_features(cfg, tmp_path / "cache", datasets=[name])
    records.pop()
    with pytest.raises(LtDetError, match=rf"differs in data\.{name};"):
        compute_features(cfg, tmp_path / "cache", datasets=[name])


def write_proposals(config, part):
    images = annotations(config, part)["images"]
    boxes = [np.asarray([[0, 0, 20 + index, 20], [5, 5, 30, 40]], dtype=np.float32) for index in range(len(images))]
    content = {"ids": [image["id"] for image in images], "boxes": boxes, "bbox_mode": BoxMode.XYXY_ABS}
    content["objectness_logits"] = [np.asarray([2, 1], dtype=np.float32)] * len(images)
    file = config.parent / f"{part}_proposals.pkl"
    file.write_bytes(pickle.dumps(content))
    return str(file)


def test_proposals_from_files(config, tmp_path, names):
    files = {part: write_proposals(config, part) for part in ("train", "val")}
    overrides = [
        *("MODEL.LOAD_PROPOSALS", True, "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"),
        *("DATASETS.PROPOSAL_FILES_TRAIN", (files["train"],), "DATASETS.PROPOSAL_FILES_TEST", (files["val"],)),
    ]
    cache = compute_features(load(config, *overrides), tmp_path / "cache")
    table = cache.proposals(names[1])
    assert table.start.tolist() == list(range(0, 2 * NUM_VAL + 1, 2))
    np.testing.assert_array_equal(table.proposals[0][6], [0, 0, 23, 20])
    assert len(cache.rois().labels) == 2 * NUM_TRAIN + len(annotations(config, "train")["annotations"])
    os.utime(files["val"], (0, 0))
    with pytest.raises(LtDetError, match=r"differs in proposal files\."):
        compute_features(load(config, *overrides), tmp_path / "cache")
    with pytest.raises(LtDetError, match="no proposal file of"):
        compute_features(load(config, *overrides[:6]), tmp_path / "other")
    with pytest.raises(LtDetError, match=r"missing\.pkl"):
        compute_features(load(config, *overrides[:-1], ("missing.pkl",)), tmp_path / "other")


def test_second_process_in_the_same_folder(config, tmp_path):
    with folder_lock(tmp_path, "other"), pytest.raises(LtDetError, match=f"Another .* is running in {tmp_path}"):
        compute_features(load(config), tmp_path)


@pytest.mark.parametrize(
    ("weights", "message"), [("", "No checkpoint"), ("missing.pth", "missing.pth .* cannot be read")]
)
def test_no_checkpoint(config, tmp_path, weights, message):
    with pytest.raises(LtDetError, match=message):
        compute_features(load(config, "MODEL.WEIGHTS", weights), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_checkpoint_that_does_not_fit(config, tmp_path):
    with pytest.raises(LtDetError, match="does not fit"):
        compute_features(load(config, "MODEL.ROI_BOX_HEAD.FC_DIM", 4), tmp_path / "cache")


def test_detector_of_one_stage(config, tmp_path):
    with pytest.raises(LtDetError, match="no box predictor"):
        compute_features(load(config, "MODEL.META_ARCHITECTURE", "ProposalNetwork"), tmp_path / "cache")


def test_full_disk(config, folder, small_disk):
    """What is finished stays, and the rest is computed when there is room."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 40_000))
    cfg = load(config)
    with pytest.raises(LtDetError, match=r"No space left on device.* what is finished is kept"):
        compute_features(cfg, small_disk / "cache")
    filler.unlink()
    steps = []
    compute_features(cfg, small_disk / "cache", track=lambda images: steps.extend(images) or iter(steps))
    assert len(steps) < 2 * NUM_TRAIN + NUM_VAL
    assert contents(small_disk / "cache") == contents(folder)


def test_tables_without_their_key(config, folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "cache"))
    (copy / "cache.json").unlink()
    with pytest.raises(LtDetError, match=r"cache\.json is missing"):
        compute_features(load(config), copy)
