"""tools/demo.py on real images and a real video."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetMapper
from detectron2.engine import DefaultPredictor

from lt_det import register_dataset
from lt_det.errors import LtDetError
from lt_det.inference.detector import TrainedDetector, classes_of, load_trained_config, threshold_of
from lt_det.inference.media import VideoReader, VideoWriter, read_image
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
def media(mini, tmp_path):
    """A folder with three images of mini_lvis and a video of ten."""
    folder = tmp_path / "media"
    folder.mkdir()
    files = sorted(mini.val_json.parent.glob("val/*.jpg"))[:10]
    for file in files[:3]:
        shutil.copy(file, folder)
    with VideoWriter(folder / "video.mp4", 5.0) as writer:
        for file in files:
            writer.write(read_image(file))
    return folder


def test_folder_of_images_and_a_video(weights, media, mini, tmp_path, capsys):
    result = run(weights, [media], tmp_path / "out", "--threshold", "0.2")
    stats = ClassStats.from_json(mini.train_json)
    assert tuple(result["classes"]) == stats.names
    stills, frames = result["images"][:3], result["images"][3:]
    assert [frame["frame"] for frame in frames] == list(range(10))
    assert [os.path.basename(still["file"]) for still in stills] == sorted(f.name for f in media.glob("*.jpg"))
    everything = [detection for image in result["images"] for detection in image["detections"]]
    assert f"Detections: {len(everything)}, images and frames: 13" in capsys.readouterr().out
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
        before, after = read_image(still["file"]), read_image(still["result"])
        assert (still["width"], still["height"]) == before.shape[1::-1]
        assert after.shape[1] == 4 * before.shape[1]
    video = VideoReader(tmp_path / "out" / "video.mp4")
    assert video.frames_per_second == 5
    assert len(list(video)) == 10


def test_the_threshold_of_an_override_holds(weights, media, tmp_path):
    """The default of --threshold does not replace it."""
    file, opts = min(media.glob("*.jpg")), [*OPTS, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.6"]
    assert run(weights, [file], tmp_path / "out", opts=opts)["threshold"] == 0.6
    assert run(weights, [file], tmp_path / "out")["threshold"] == 0.3


@pytest.mark.parametrize(
    ("key", "options", "option"),
    [
        ("MODEL.WEIGHTS", {"weights": "a.pth"}, "--weights a.pth"),
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", {"threshold": 0.1}, "--threshold 0.1"),
        ("MODEL.RETINANET.SCORE_THRESH_TEST", {"threshold": 0.1}, "--threshold 0.1"),
    ],
)
def test_an_option_and_an_override_of_the_same_key(key, options, option):
    with pytest.raises(LtDetError, match=f"{option} and the override {key}"):
        load_trained_config(SEESAW, opts=[*OPTS, key, "0.5"], **options)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["MODEL.META_ARCHITECTURE", "SemanticSegmentor"], "SemanticSegmentor predicts no boxes"),
        (["MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"], "PROPOSAL_GENERATOR.NAME is PrecomputedProposals"),
    ],
)
def test_a_network_that_cannot_detect_in_an_image_alone(opts, words):
    with pytest.raises(LtDetError, match=words):
        load_trained_config(SEESAW, opts=[*OPTS, *opts])


def test_a_copied_run_uses_its_own_weights(tmp_path):
    """Its config.yaml names the OUTPUT_DIR of the original, which still exists."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    for folder in (original, copy):
        folder.mkdir()
        (folder / "config.yaml").write_text(f"_BASE_: {REPOSITORY / SEESAW}\nOUTPUT_DIR: {original}\n")
        (folder / "model_final.pth").touch()

    def weights_of(config, *opts):
        return Path(load_trained_config(str(copy / config), opts=[*OPTS, *opts]).MODEL.WEIGHTS)

    assert weights_of("config.yaml") == copy / "model_final.pth"
    assert weights_of("config.yaml", "OUTPUT_DIR", str(original)) == original / "model_final.pth"
    (copy / "model_final.pth").rename(copy / "model_0000089.pth")  # ended early
    assert weights_of("config.yaml") == copy / "model_0000089.pth"
    shutil.copy(copy / "config.yaml", copy / "mine.yaml")  # not written by a training
    assert weights_of("mine.yaml") == original / "model_final.pth"


def test_retinanet_has_its_own_threshold_and_classes(tmp_path, caplog):
    (tmp_path / "model.pth").touch()
    opts = ["MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.NUM_CLASSES", "7"]
    cfg = load_trained_config(SEESAW, str(tmp_path / "model.pth"), [*opts, "DATASETS.TRAIN", "()"], 0.4)
    assert cfg.MODEL.RETINANET.SCORE_THRESH_TEST == threshold_of(cfg) == 0.4
    assert len(classes_of(cfg)[0]) == 7
    assert "TEST.AUG" not in caplog.text


def test_settings_of_the_training_that_a_demo_ignores_are_named(tmp_path, caplog):
    (tmp_path / "model.pth").touch()
    opts = [*OPTS, "TEST.AUG.ENABLED", "True", "MODEL.KEYPOINT_ON", "True", "MODEL.LOAD_PROPOSALS", "True"]
    load_trained_config(SEESAW, str(tmp_path / "model.pth"), opts)
    assert "TEST.AUG.ENABLED is True" in caplog.text
    assert "MODEL.KEYPOINT_ON is True" in caplog.text


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_detections_are_those_of_detectron2(channels, weights, media):
    cfg = load_trained_config(
        SEESAW, str(weights), [*OPTS, "INPUT.FORMAT", channels, "INPUT.MIN_SIZE_TEST", "176"], 0.1
    )
    file = min(media.glob("*.jpg"))
    found = TrainedDetector(cfg)(read_image(file))
    theirs = DefaultPredictor(cfg)(read_image(file)[:, :, ::-1])["instances"]
    assert len(found.scores) > 3
    np.testing.assert_allclose(found.scores, theirs.scores.numpy())
    np.testing.assert_allclose(found.boxes, theirs.pred_boxes.tensor.numpy())
    assert found.classes.tolist() == theirs.pred_classes.tolist()


@pytest.mark.parametrize("channels", ["L", "YUV-BT.601", "HSV"])
def test_images_are_converted_as_in_training(channels, weights, media):
    cfg = load_trained_config(SEESAW, str(weights), [*OPTS, "INPUT.FORMAT", channels, "INPUT.MIN_SIZE_TEST", "176"])
    file = min(media.glob("*.jpg"))
    theirs = DatasetMapper(cfg, is_train=False)({"file_name": str(file)})["image"]
    np.testing.assert_array_equal(TrainedDetector(cfg).model_input(read_image(file)), theirs.float())


def test_counts_beside_the_weights_define_the_buckets(weights, mini, tmp_path, caplog):
    """Also on a machine without the training set; without both, the classes have names or numbers."""
    away = ["DATASETS.TRAIN", "('nowhere',)", "DATASETS.TEST", "()"]
    names, buckets = classes_of(load_trained_config(SEESAW, str(weights), [*OPTS, *away]))
    assert (names, buckets.names) == (ClassStats.from_json(mini.train_json).names, ("rare", "common", "frequent"))
    alone = shutil.copy(weights, tmp_path)
    with caplog.at_level(logging.WARNING):
        names, buckets = classes_of(load_trained_config(SEESAW, alone, [*OPTS, *away]))
    assert (names, buckets) == (tuple(map(str, range(12))), None)
    assert "Frequency buckets are unknown" in caplog.text
    register_dataset("demo_val", mini.val_json, mini.image_root)
    away = ["DATASETS.TRAIN", "('nowhere',)", "DATASETS.TEST", "('demo_val',)"]
    names, buckets = classes_of(load_trained_config(SEESAW, alone, [*OPTS, *away]))
    assert (names, buckets) == (ClassStats.from_json(mini.train_json).names, None)


def test_an_image_too_narrow_to_be_resized_is_named_and_the_others_processed(weights, media, tmp_path):
    narrow = media / "narrow.png"
    cv2.imwrite(str(narrow), np.zeros((1, 3000, 3), np.uint8))
    with pytest.raises(
        LtDetError, match=r"^1 of 5 inputs .*narrow.png has 3000 x 1 pixels, of which INPUT.MAX_SIZE_TEST"
    ):
        run(weights, [media], tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == 13


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://example.com/a.jpg", "is an address"),
        ("rtsp://10.0.0.1/stream", "is an address"),
        ("0", "cameras cannot be read"),
        ("photos/*.jpg", "without quotes"),
        ("a.jpg", "give files or folders"),
    ],
)
def test_what_is_no_file(weights, tmp_path, name, words):
    with pytest.raises(LtDetError, match=words):
        run(weights, [name], tmp_path / "out")


def test_unreadable_inputs_are_named_and_the_others_processed(weights, media, tmp_path):
    (media / "000.jpg").write_bytes(b"not an image")
    video = (media / "video.mp4").read_bytes()
    (media / "video.mp4").write_bytes(video[: len(video) // 2])
    with pytest.raises(LtDetError, match=r"^2 of 5 inputs cannot be .*000.jpg cannot be .*video.mp4 cannot be read"):
        run(weights, [media], tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == 3


def test_a_later_call_keeps_the_numbers_of_an_earlier_one(weights, media, tmp_path, monkeypatch):
    first, second, _ = sorted(media.glob("*.jpg"))
    out = tmp_path / "out"
    earlier = run(weights, [first], out)["images"]
    result = run(weights, [second], out)["images"]
    assert [result[0], result[1]["file"]] == [*earlier, str(second)]
    with pytest.raises(LtDetError, match=r"detections of \S+ from an earlier call with other threshold; .* --output"):
        run(weights, [first], out, "--threshold", "0.9")
    monkeypatch.chdir(tmp_path)  # another way to write the same weights, folder and result
    again = run(os.path.relpath(weights), [first], Path("out"))["images"]
    assert [Path(image["result"]).name for image in again] == [second.name, first.name]
    (media / "000.jpg").write_bytes(b"not an image")
    before = (out / "detections.json").read_bytes()
    with pytest.raises(LtDetError, match="cannot be read"):
        run(weights, [media / "000.jpg"], out)
    assert (out / "detections.json").read_bytes() == before
    result = run(weights, [first, second], out, "--threshold", "0.9")  # nothing of the earlier calls is left
    assert (result["threshold"], len(result["images"])) == (0.9, 2)


@pytest.mark.parametrize("content", ["{", "[]", '{"images": [1]}', '{"images": 1}'])
def test_another_file_of_that_name_is_kept(content, weights, media, tmp_path):
    (tmp_path / "detections.json").write_text(content)
    with pytest.raises(LtDetError, match=r"detections\.json"):
        run(weights, [media], tmp_path)
    assert (tmp_path / "detections.json").read_text() == content


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"inputs": ["nothing.jpg"]}, "The input nothing.jpg does not exist"),
        ({"inputs": ["EMPTY"]}, "empty holds no"),
        ({"output": "media"}, "would overwrite an input"),
        ({"output": "file"}, r"--output .*file cannot be written"),
        ({"weights": "no.pth"}, "The weights no.pth do not exist; .* --weights"),
        ({"more": ["--threshold", "2"]}, "--threshold is 2.0"),
        ({"opts": ["MODEL.ROI_HEADS.NUM_CLASSES", "13"]}, "NUM_CLASSES is 13, but .* has 12 classes|does not fit"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(change, sentence, weights, media, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    inputs = [tmp_path / "empty" if name == "EMPTY" else name for name in change.get("inputs", [media])]
    output, more = tmp_path / change.get("output", "out"), change.get("more", [])
    with pytest.raises(LtDetError, match=sentence):
        run(change.get("weights", weights), inputs, output, *more, opts=change.get("opts", OPTS))


def fill(disk, left):
    """Fill the small disk up to so many free bytes."""
    (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free // 4096 * 4096 - left))


def test_disk_that_fills_up_keeps_the_complete_images(weights, media, small_disk):
    fill(small_disk, 128 * 1024)  # of images of about 50 KiB
    with pytest.raises(LtDetError, match=r"small_disk/\S+ cannot be written \(No space left on device\)"):
        run(weights, [media], small_disk)
    kept = sorted(small_disk.glob("*.jpg"))
    assert 0 < len(kept) < 3
    for file in kept:
        read_image(file)
    assert not list(small_disk.glob(".*"))


def test_disk_without_room_for_the_numbers(weights, media, small_disk, monkeypatch):
    # After the check at the start.
    monkeypatch.setattr("lt_det.inference.demo.write_image", lambda *_: fill(small_disk, 0))
    with pytest.raises(LtDetError, match=r"detections.json cannot be written \(No space left on device\)"):
        run(weights, [min(media.glob("*.jpg"))], small_disk)
    assert [file.name for file in small_disk.iterdir()] == ["other"]


def test_a_video_that_a_full_disk_truncates_is_an_error(media, small_disk):
    frames = list(VideoReader(media / "video.mp4"))
    fill(small_disk, 16 * 1024)
    writer = VideoWriter(small_disk / "video.mp4", 5.0)
    for frame in frames:
        writer.write(frame)
    with pytest.raises(LtDetError, match=r"video.mp4 cannot be written in full"):
        writer.__exit__(None, None, None)


def test_two_inputs_with_one_result(weights, media, tmp_path):
    (tmp_path / "other").mkdir()
    file = min(media.glob("*.jpg"))
    shutil.copy(file, tmp_path / "other")
    with pytest.raises(LtDetError, match="would both be written to"):
        run(weights, [file, tmp_path / "other"], tmp_path / "out")


def frames_of(video):
    played = cv2.VideoCapture(str(video))
    done = 0
    while played.read()[0]:
        done += 1
    return done


def test_ctrl_c_keeps_the_processed_frames(weights, media, tmp_path, monkeypatch):
    frames = list(VideoReader(media / "video.mp4"))

    def interrupted(_):
        yield from frames[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoReader, "__iter__", interrupted)
    with pytest.raises(KeyboardInterrupt, match="so far are in"):
        run(weights, [media / "video.mp4"], tmp_path / "out")
    assert frames_of(tmp_path / "out" / "video.mp4") == 3
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == 3


def test_video_of_a_terminated_process_can_be_played(weights, media, tmp_path):
    video = tmp_path / "long.mp4"
    frames = list(VideoReader(media / "video.mp4"))
    with VideoWriter(video, 5.0) as writer:
        for _ in range(200):
            for frame in frames:
                writer.write(frame)
    arguments = ["--config", SEESAW, "--weights", weights, "--input", video, "--output", tmp_path / "out", *OPTS]
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
    assert done in (listed, listed - 1)  # a frame that was processed and not yet written
