"""`lt-det diagnose` on detectors of every kind, from the output folder of a training to the page."""

import json

import numpy as np
import pytest
import torch

from lt_det.bakeoff.cache.cache import FeatureCache
from lt_det.bakeoff.diagnosis.features import open_features
from lt_det.cli import main
from lt_det.evaluation.diagnosis_schema import read_diagnosis
from lt_det.training.config_loading import config_of_detector
from tests.helpers import first_images
from tests.helpers.proposals import TRAIN, VAL, random_detector, write_config

CASCADE = ["MODEL.ROI_HEADS.NAME", "LongTailCascadeROIHeads", "MODEL.LONG_TAIL.LOSS.NAME", "ldam"]
STOCK = ["MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", "True"]
K = 12


@pytest.fixture(scope="module")
def config(mini, tmp_path_factory):
    """A config with 4 test and 8 training images; classes keep the counts of all training images."""
    folder = tmp_path_factory.mktemp("diagnosed")
    few = mini.train_json.with_name("first_8_train.json")
    few.write_text(json.dumps(first_images(mini.train_json, 8)))
    text = write_config(mini, folder, 4).read_text().replace(str(mini.train_json), str(few))
    file = folder / "small.yaml"
    file.write_text(text.replace("MODEL:", f"MODEL:\n  LONG_TAIL: {{CLASS_STATS: {mini.train_json}}}", 1))
    return file


def finished_training(config, folder, *overrides):
    """OUTPUT_DIR of a training with a checkpoint and its config.yaml, which has other MODEL.WEIGHTS."""
    folder.mkdir(exist_ok=True)
    cfg = random_detector(config, folder, *overrides)
    cfg.MODEL.WEIGHTS = "initial.pkl"
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


@pytest.fixture(scope="module")
def softmax(config, tmp_path_factory):
    folder = finished_training(config, tmp_path_factory.mktemp("softmax"))
    assert main(["--traceback", "diagnose", str(folder)]) == 0
    return folder


def pairwise_ious(boxes, others):
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others)]
    return overlap / (areas[0][:, None] + areas[1][None] - overlap)


def test_the_numbers_are_those_of_cache_checkpoint_and_annotations(softmax, mini):
    diagnosis = read_diagnosis(softmax / "diagnosis" / "diagnosis.json")
    cache = FeatureCache.open(softmax / "bakeoff" / "features")
    table, proposals = cache.rois(), cache.proposals(VAL)
    (stage,) = diagnosis.stages
    assert diagnosis.checkpoint == str(softmax / "model_final.pth")
    assert (diagnosis.loss, diagnosis.classifier) == ("softmax", "linear")
    assert (diagnosis.training, diagnosis.training_images, diagnosis.test, diagnosis.test_images) == (
        [TRAIN],
        8,
        VAL,
        4,
    )

    every = json.loads(mini.train_json.read_text())
    ids = [category["id"] for category in sorted(every["categories"], key=lambda category: category["id"])]
    instances = [sum(a["category_id"] == one for a in every["annotations"]) for one in ids]
    assert [entry.instances for entry in diagnosis.classes] == instances

    head = torch.load(softmax / "model_final.pth", weights_only=False)["model"]
    W = np.asarray(head["roi_heads.box_predictor.cls_score.weight"], dtype=np.float64)
    b = np.asarray(head["roi_heads.box_predictor.cls_score.bias"], dtype=np.float64)
    assert stage.weight_norms.norms == pytest.approx(np.linalg.norm(W[:K], axis=1).tolist(), rel=1e-6)

    h, y = np.asarray(table.features, dtype=np.float64), np.asarray(table.labels)
    logits = h @ W.T + b
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    d = np.abs(p - np.eye(K + 1)[y]) * np.asarray(table.weights)[:, None]
    known = [k for k in range(K) if (y == k).any()]
    ratio = [d[y == k, k].sum() / d[y != k, k].sum() for k in known]
    assert [stage.gradients.ratio[k] for k in known] == pytest.approx(ratio, rel=1e-4)

    truth = json.loads(mini.val_json.read_text())
    test = np.zeros(K, dtype=int)
    correct = np.zeros(K, dtype=int)
    for image, image_id in enumerate(proposals.image_ids):
        own = [a for a in truth["annotations"] if a["image_id"] == image_id]
        rows = slice(proposals.start[image], proposals.start[image + 1])
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in own)])
        scale = proposals.network_sizes[image][::-1] / proposals.sizes[image][::-1]
        ious = pairwise_ious(boxes * np.tile(scale, 2), np.asarray(proposals.proposals[0][rows], dtype=np.float64))
        labels = np.array([ids.index(a["category_id"]) for a in own])[ious.argmax(axis=0)]
        scores = np.asarray(proposals.features[0][rows]) @ W.T + b
        matched = ious.max(axis=0) >= 0.5
        test += np.bincount(labels[matched], minlength=K)
        right = scores[:, :K].argmax(axis=1) == labels
        correct += np.bincount(labels[matched & right], minlength=K)
    assert stage.deviation.test_rois == test.tolist()
    accuracy = [None if not test[k] else correct[k] / test[k] for k in range(K)]
    assert stage.deviation.test_accuracy == accuracy


def test_the_page_is_one_file_and_the_terminal_has_the_sentences(softmax, capsys):
    page = softmax / "diagnosis" / "diagnosis.html"
    before = page.read_bytes()
    cache = softmax / "bakeoff" / "features" / "cache.json"
    written = cache.stat().st_mtime_ns
    assert main(["diagnose", str(softmax)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert cache.stat().st_mtime_ns == written  # the features were not computed again
    assert page.read_bytes() == before
    text = page.read_text()
    assert "://" not in text.replace("http://www.w3.org", "")
    assert "Gradients of the weights of each class" in printed
    assert str(page).replace(" ", "") in printed.replace(" ", "")


@pytest.mark.parametrize(
    ("overrides", "stages", "loss", "classifier"), [(CASCADE, 3, "ldam", "cosine"), (STOCK, 1, "sigmoid", "linear")]
)
def test_cascades_and_stock_heads(config, tmp_path, overrides, stages, loss, classifier):
    folder = finished_training(config, tmp_path / "run", *overrides)
    assert main(["--traceback", "diagnose", "--out", str(tmp_path / "out"), str(folder)]) == 0
    diagnosis = read_diagnosis(tmp_path / "out" / "diagnosis.json")
    assert len(diagnosis.stages) == stages
    assert (diagnosis.loss, diagnosis.classifier) == (loss, classifier)
    assert all(stage.deviation is not None for stage in diagnosis.stages)
    page = (tmp_path / "out" / "diagnosis.html").read_text()
    assert (f"Stage {stages} of {stages}" in page) == (stages > 1)


def test_a_config_in_the_place_of_a_run(softmax, tmp_path):
    words = ["MODEL.WEIGHTS", str(softmax / "model_final.pth"), "OUTPUT_DIR", str(tmp_path / "elsewhere")]
    features = str(softmax / "bakeoff" / "features")
    assert main(["diagnose", "--config", str(softmax / "config.yaml"), "--features", features, *words]) == 0
    assert (tmp_path / "elsewhere" / "diagnosis" / "diagnosis.html").is_file()


def test_a_sample_of_the_training_images(softmax, tmp_path, capsys, monkeypatch):
    """It is in a cache of its own, and the finished cache of a bake-off is used unless a number is given."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "model_final.pth", "last_checkpoint"):
        (run / name).write_bytes((softmax / name).read_bytes())
    words = [str(run), "OUTPUT_DIR", str(run)]
    monkeypatch.setattr("lt_det.bakeoff.diagnosis.features.MAX_TRAINING_IMAGES", 4)
    assert main(["--traceback", "diagnose", *words]) == 0
    assert "Measured: 4 of 8 training images" in capsys.readouterr().out
    cache = FeatureCache.open(run / "diagnosis" / "features")
    assert cache.datasets == [VAL]
    assert not (run / "bakeoff").exists()
    diagnosis = read_diagnosis(run / "diagnosis" / "diagnosis.json")
    assert (diagnosis.training_images, diagnosis.training_set_images, diagnosis.test_images) == (4, 8, 4)
    assert "of 4 of 8 images" in (run / "diagnosis" / "diagnosis.html").read_text()

    assert main(["diagnose", "--max-training-images", "5", *words]) == 1
    error = capsys.readouterr().err
    assert "--max-training-images is 5" in error
    assert "4 training images" in error
    assert main(["diagnose", "--max-training-images", "0", *words]) == 1
    assert "--max-training-images is 0" in capsys.readouterr().err

    (run / "bakeoff").symlink_to(softmax / "bakeoff")
    every = open_features(config_of_detector(None, words, False))
    assert every.folder == run / "bakeoff" / "features"
    assert len(set(every.rois().images)) == 8


@pytest.mark.parametrize(
    ("files", "words", "expected"),
    [
        ([], [], "RUN"),
        ([], ["{folder}"], "config.yaml"),
        (["config.yaml"], ["{folder}"], "checkpoint"),
        (["config.yaml", "model_final.pth"], ["--test", "nowhere", "--features", "{features}", "{folder}"], "nowhere"),
    ],
)
def test_a_mistake_is_one_sentence(softmax, tmp_path, capsys, files, words, expected):
    for name in files:
        (tmp_path / name).write_bytes((softmax / name).read_bytes())
    if "model_final.pth" in files:
        (tmp_path / "last_checkpoint").write_text("model_final.pth")
    places = {"folder": tmp_path, "features": softmax / "bakeoff" / "features"}
    assert main(["diagnose", *(word.format(**places) for word in words)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert expected in error
