"""tools/demo.py on real pictures and a real film."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from detectron2.engine import DefaultPredictor

from lt_det import register_dataset
from lt_det.errors import LtDetError
from lt_det.inference.media import FilmReader, FilmWriter, read_picture
from lt_det.inference.predictor import TrainedDetector, classes_of, load_trained_config
from lt_det.statistics.class_stats import ClassStats
from tests.helpers import REPOSITORY, load_tool
from tests.helpers.configs import SEESAW

OPTS = ["MODEL.ROI_HEADS.NUM_CLASSES", "12", "MODEL.DEVICE", "cpu"]
demo = load_tool("demo")


def run(weights, inputs, output, *more, opts=OPTS):
    arguments = ["--config", SEESAW, "--weights", weights, "--input", *inputs, "--output", output, *more, *opts]
    demo.main(demo.parser().parse_args(list(map(str, arguments))))
    return json.loads((output / "detections.json").read_text())


@pytest.fixture
def pictures(mini, tmp_path):
    """A folder with three pictures of mini_lvis and a film of ten."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    files = sorted(mini.val_json.parent.glob("val/*.jpg"))[:10]
    for file in files[:3]:
        shutil.copy(file, folder)
    with FilmWriter(folder / "film.mp4", 5.0) as writer:
        for file in files:
            writer.write(read_picture(file))
    return folder


def test_folder_of_pictures_and_a_film(weights, pictures, mini, tmp_path, capsys):
    result = run(weights, [pictures], tmp_path / "out", "--threshold", "0.2")
    stats = ClassStats.from_json(mini.train_json)
    assert tuple(result["classes"]) == stats.names
    stills, frames = result["images"][:3], result["images"][3:]
    assert [frame["frame"] for frame in frames] == list(range(10))
    assert [os.path.basename(still["file"]) for still in stills] == sorted(f.name for f in pictures.glob("*.jpg"))
    everything = [detection for image in result["images"] for detection in image["detections"]]
    assert f"Objects: {len(everything)}, pictures and frames: 13" in capsys.readouterr().out
    assert len({detection["bucket"] for detection in everything}) > 1
    for detection in everything:
        count = stats.image_counts[detection["class_index"]]
        assert detection["bucket"] == ("rare" if count <= 10 else "common" if count <= 100 else "frequent")
        assert detection["class"] == stats.names[detection["class_index"]]
        assert 0.2 < detection["score"] <= 1
    for image in result["images"]:
        scores = [detection["score"] for detection in image["detections"]]
        assert scores == sorted(scores, reverse=True)
    for still in stills:
        before, after = read_picture(still["file"]), read_picture(still["result"])
        assert (still["width"], still["height"]) == before.shape[1::-1]
        assert after.shape[1] == 4 * before.shape[1]
    film = FilmReader(tmp_path / "out" / "film.mp4")
    assert film.per_second == 5
    assert len(list(film)) == 10


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_detections_are_those_of_detectron2(channels, weights, pictures):
    cfg = load_trained_config(
        SEESAW, str(weights), [*OPTS, "INPUT.FORMAT", channels, "INPUT.MIN_SIZE_TEST", "176"], 0.1
    )
    file = min(pictures.glob("*.jpg"))
    found = TrainedDetector(cfg)(read_picture(file))
    theirs = DefaultPredictor(cfg)(read_picture(file)[:, :, ::-1])["instances"]
    assert len(found.scores) > 3
    np.testing.assert_allclose(found.scores, theirs.scores.numpy())
    np.testing.assert_allclose(found.boxes, theirs.pred_boxes.tensor.numpy())
    assert found.classes.tolist() == theirs.pred_classes.tolist()


def test_counts_beside_the_weights_make_the_buckets(weights, mini, tmp_path, caplog):
    """Also on a machine without the training set; without both there are names or numbers."""
    away = ["DATASETS.TRAIN", "('nowhere',)", "DATASETS.TEST", "()"]
    names, buckets = classes_of(load_trained_config(SEESAW, str(weights), [*OPTS, *away]))
    assert (names, buckets.names) == (ClassStats.from_json(mini.train_json).names, ("rare", "common", "frequent"))
    alone = shutil.copy(weights, tmp_path)
    with caplog.at_level(logging.WARNING):
        names, buckets = classes_of(load_trained_config(SEESAW, alone, [*OPTS, *away]))
    assert (names, buckets) == (tuple(map(str, range(12))), None)
    assert "Frequency buckets are not known" in caplog.text
    register_dataset("demo_val", mini.val_json, mini.image_root)
    away = ["DATASETS.TRAIN", "('nowhere',)", "DATASETS.TEST", "('demo_val',)"]
    names, buckets = classes_of(load_trained_config(SEESAW, alone, [*OPTS, *away]))
    assert (names, buckets) == (ClassStats.from_json(mini.train_json).names, None)


def test_unreadable_inputs_are_named_and_the_others_shown(weights, pictures, tmp_path):
    (pictures / "000.jpg").write_bytes(b"no picture")
    film = (pictures / "film.mp4").read_bytes()
    (pictures / "film.mp4").write_bytes(film[: len(film) // 2])
    with pytest.raises(
        LtDetError, match=r"^2 of 5 inputs are not or not fully shown: .*000.jpg cannot be .*film.mp4 cannot be read"
    ):
        run(weights, [pictures], tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"inputs": ["nothing.jpg"]}, "The input nothing.jpg does not exist"),
        ({"inputs": ["EMPTY"]}, "holds no pictures or films"),
        ({"output": "pictures"}, "would overwrite an input"),
        ({"output": "file"}, r"--output .*file cannot be written"),
        ({"weights": "no.pth"}, "The weights no.pth do not exist; .* --weights"),
        ({"more": ["--threshold", "2"]}, "--threshold is 2.0"),
        ({"opts": ["MODEL.ROI_HEADS.NUM_CLASSES", "13"]}, "NUM_CLASSES is 13, but .* has 12 classes|does not fit"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(change, sentence, weights, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    inputs = [tmp_path / "empty" if name == "EMPTY" else name for name in change.get("inputs", [pictures])]
    output, more = tmp_path / change.get("output", "out"), change.get("more", [])
    with pytest.raises(LtDetError, match=sentence):
        run(change.get("weights", weights), inputs, output, *more, opts=change.get("opts", OPTS))


def filled(disk, left):
    """The small disk with so many bytes left."""
    (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free // 4096 * 4096 - left))


def test_disk_that_fills_up_keeps_the_pictures_that_are_whole(weights, pictures, small_disk):
    filled(small_disk, 128 * 1024)  # of pictures of some 50 KiB
    with pytest.raises(LtDetError, match=r"small_disk/\S+ cannot be written \(No space left on device\); make room"):
        run(weights, [pictures], small_disk)
    kept = sorted(small_disk.glob("*.jpg"))
    assert 0 < len(kept) < 3
    for file in kept:
        read_picture(file)
    assert not list(small_disk.glob(".*"))


def test_disk_without_room_for_the_numbers(weights, pictures, small_disk, monkeypatch):
    filled(small_disk, 0)
    monkeypatch.setattr(demo, "write_picture", lambda *_: None)
    with pytest.raises(LtDetError, match=r"detections.json cannot be written \(No space left on device\); make room"):
        run(weights, [min(pictures.glob("*.jpg"))], small_disk)
    assert [file.name for file in small_disk.iterdir()] == ["other"]


def test_film_that_a_full_disk_cuts_off_is_told(pictures, small_disk):
    frames = list(FilmReader(pictures / "film.mp4"))
    filled(small_disk, 16 * 1024)
    writer = FilmWriter(small_disk / "film.mp4", 5.0)
    for frame in frames:
        writer.write(frame)
    with pytest.raises(LtDetError, match=r"film.mp4 cannot be written in full; make room"):
        writer.__exit__(None, None, None)


def test_two_inputs_with_one_result(weights, pictures, tmp_path):
    (tmp_path / "other").mkdir()
    file = min(pictures.glob("*.jpg"))
    shutil.copy(file, tmp_path / "other")
    with pytest.raises(LtDetError, match="would both be written to"):
        run(weights, [file, tmp_path / "other"], tmp_path / "out")


def frames_of(film):
    played = cv2.VideoCapture(str(film))
    done = 0
    while played.read()[0]:
        done += 1
    return done


def test_ctrl_c_keeps_the_frames_done(weights, pictures, tmp_path, monkeypatch):
    frames = list(FilmReader(pictures / "film.mp4"))

    def interrupted(_):
        yield from frames[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(FilmReader, "__iter__", interrupted)
    with pytest.raises(KeyboardInterrupt, match="what was done so far is in"):
        run(weights, [pictures / "film.mp4"], tmp_path / "out")
    assert frames_of(tmp_path / "out" / "film.mp4") == 3
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == 3


def test_terminated_film_can_be_played(weights, pictures, tmp_path):
    film = tmp_path / "long.mp4"
    frames = list(FilmReader(pictures / "film.mp4"))
    with FilmWriter(film, 5.0) as writer:
        for _ in range(200):
            for frame in frames:
                writer.write(frame)
    arguments = ["--config", SEESAW, "--weights", weights, "--input", film, "--output", tmp_path / "out", *OPTS]
    command = [sys.executable, str(REPOSITORY / "tools" / "demo.py"), *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        result = tmp_path / "out" / "long.mp4"
        while process.poll() is None and not result.is_file():
            time.sleep(0.1)
        time.sleep(0.5)
        process.terminate()
        assert process.wait(60) == 143, process.stderr.read()
    finally:
        process.kill()
    done = frames_of(result)
    listed = len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"])
    assert 0 < done < 2000
    assert done in (listed, listed - 1)  # a frame that was looked at and not yet written
