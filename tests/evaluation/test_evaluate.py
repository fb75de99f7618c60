"""`lt-det evaluate` on results files of any framework."""

import json
import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from lt_det.cli import main
from lt_det.evaluation.checks import num_duplicates
from lt_det.evaluation.matching.detections import Detections
from lt_det.io.annotations.coco_json import load_annotations
from tests.helpers.worlds import noisy_detections


@pytest.fixture
def results(mini):
    """Detections on mini_lvis's validation set, masks as json holds them."""
    detections = noisy_detections(load_annotations(mini.val_json), extra=0)
    for detection in detections:
        detection["segmentation"]["counts"] = detection["segmentation"]["counts"].decode()
    return detections


def evaluate(mini, tmp_path, results, *options):
    file = tmp_path / "results.json"
    file.write_text(results if isinstance(results, str) else json.dumps(results))
    return main(["evaluate", "--gt", str(mini.val_json), "--results", str(file), *map(str, options)])


@pytest.mark.parametrize("protocol", ["lvis", "coco", "fixed"])
def test_cross_check_finds_no_difference(mini, tmp_path, results, protocol, capsys):
    options = ("--protocol", protocol, "--iou", "bbox,segm", "--cross-check", "--train-stats", mini.train_json)
    assert evaluate(mini, tmp_path, results, *options) == 0
    out = capsys.readouterr().out
    assert f"({protocol} protocol)" in out
    assert out.count(": check") == 2
    checks = out[out.index("bbox: check") :]
    rows = re.findall(r"│ (A[PR]\w*)\s*│\s*(\S+) │\s*(\S+) │\s*(\S+) │", checks)
    assert {name for name, *_ in rows} >= {"AP", "APr", "APc", "APf", "AR"} | (
        {"AR1", "AR10"} if protocol == "coco" else set()
    )
    assert all(value == official and float(difference) == 0 for _, value, official, difference in rows)
    assert float(rows[0][1]) > 5


def test_report_of_results(mini, tmp_path, results, capsys):
    out = tmp_path / "out"
    assert evaluate(mini, tmp_path, results, "--out", out, "--train-stats", mini.train_json) == 0
    assert (out / "report" / "report.md").is_file()
    assert capsys.readouterr().out.endswith(f"\nReport: {out}/report/report.html\n")
    written = json.loads((out / "inference" / "mini_lvis_val" / "evaluation.json").read_text())
    assert written["protocol"] == "lvis"  # the json has its lists
    assert written["classes"][0]["images"] > 0


def test_images_have_no_effect_without_a_report(mini, tmp_path, results, caplog):
    assert evaluate(mini, tmp_path, results, "--train-stats", mini.train_json, "--images", mini.image_root) == 0
    assert "--images has no effect without --out" in caplog.text


def test_nothing_found(mini, tmp_path, capsys, caplog):
    assert evaluate(mini, tmp_path, [], "--train-stats", mini.train_json) == 0
    assert "There are no detections" in caplog.text
    assert "have no detection" not in caplog.text
    assert re.search(r"│ AP\s+│\s+0\.0", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image_id": 10**6},
            r"results\.json has 1 detection .*'image_id'.* 1000000",
        ),
        (
            {"category_id": 99},
            r"results\.json has 1 detection .*'category_id'.* 99",
        ),
        ({"image_id": "a.jpg"}, r"results\.json has 1 detection .*'image_id'.* 'a.jpg'"),
        ({"image_id": [1]}, r"results\.json .*'image_id'.* single id"),
        ({"bbox": [1, 2, 3]}, r"results\.json .*'bbox'.* four finite numbers"),
        ({"bbox": None}, r"results\.json .*'bbox'.* four finite numbers"),
        (
            {"bbox": [float("nan"), 2, 3, 4]},
            r"results\.json .*'bbox'.* four finite numbers",
        ),
        ({"score": float("nan")}, "'score' nan"),
        ({"score": None}, "'score' None"),
        ({"score": "0.9"}, "number 0, .*'score' '0.9'"),
        ({"bbox": ["1", "2", "3", "4"]}, r"number 0, .*'bbox' \['1'"),
        ({"category_id": True}, "number 0, .*'category_id' True"),
    ],
)
def test_invalid_detections(mini, tmp_path, results, change, message, capsys):
    assert (
        evaluate(
            mini, tmp_path, [results[0] | change, *results[1:]] if "a.jpg" not in str(change) else [results[0] | change]
        )
        == 1
    )
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "results file .* is empty"),
        ('[{"image_id": 1, "cat', "not valid json .*truncated"),
        ('{"annotations": []}', "not a list of detections"),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]',
            r"1 of 1 detections of .*results\.json .*'score'",
        ),
        (
            '[{"image_id": 1, "category_id": 1, "score": 0.5}]',
            r"1 of 1 detections of .*results\.json .*'bbox'",
        ),
    ],
)
def test_results_file_that_cannot_be_read(mini, tmp_path, text, message, capsys):
    assert evaluate(mini, tmp_path, text) == 1
    assert re.search(message, capsys.readouterr().err)


def test_out_that_is_a_file(mini, tmp_path, results, capsys):
    (tmp_path / "out").write_text("content")
    assert evaluate(mini, tmp_path, results, "--out", tmp_path / "out") == 1
    assert re.search(r"error: --out .*out is a file", capsys.readouterr().err)
    assert (tmp_path / "out").read_text() == "content"
    assert evaluate(mini, tmp_path, "not even read", "--out", tmp_path / "out" / "x") == 1
    assert re.search(r"error: --out .*out/x .*Not a dir", capsys.readouterr().err)


def test_intervals_and_pool(mini, tmp_path, results, capsys):
    out = tmp_path / "out"
    assert evaluate(mini, tmp_path, results, "--resamples", 150, "--out", out) == 0
    box = json.loads((out / "inference" / "mini_lvis_val" / "evaluation.json").read_text())["tasks"]["bbox"]
    for name in ("AP", "AP50", "AP75", "APr", "APc", "APf"):
        low, high = box["intervals"][name]
        assert low < box["metrics"][name] < high
        assert len(box["resamples"]["values"][name]) == 150
    assert box["errors"]["class_ap50"] is not None
    assert box["calibration"]["groups"]["all"]["ece"] > 0.05  # the scores are random
    assert "95 % from" in capsys.readouterr().out
    assert evaluate(mini, tmp_path, results, "--protocol", "pool", "--resamples", 150) == 1
    assert "AP-Pool has no intervals" in capsys.readouterr().err
    assert evaluate(mini, tmp_path, results, "--protocol", "pool") == 0
    assert "(pool protocol)" in capsys.readouterr().out
    assert evaluate(mini, tmp_path, results, "--protocol", "pool", "--cross-check") == 1
    assert "No official package computes AP-Pool" in capsys.readouterr().err
    assert evaluate(mini, tmp_path, results, "--resamples", -1) == 1
    assert "--resamples is -1" in capsys.readouterr().err


def test_missing_results_file(mini, tmp_path, capsys):
    assert main(["evaluate", "--gt", str(mini.val_json), "--results", str(tmp_path / "none.json")]) == 1
    assert "none.json does not exist" in capsys.readouterr().err


def test_unknown_task(mini, tmp_path, results, capsys):
    assert evaluate(mini, tmp_path, results, "--iou", "boundary") == 1
    assert "--iou is boundary" in capsys.readouterr().err


def test_lvis_protocol_without_its_lists(mini, tmp_path, results, capsys, caplog):
    data = json.loads(mini.val_json.read_text())
    for index, image in enumerate(data["images"]):
        image["neg_category_ids"] = None
        if index % 2:
            del image["neg_category_ids"]
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(data))
    (tmp_path / "results.json").write_text(json.dumps(results))
    arguments = ["evaluate", "--gt", str(bare), "--results", str(tmp_path / "results.json")]
    assert main([*arguments, "--protocol", "lvis"]) == 1
    assert "bare.json has no neg_category_ids, which the lvis protocol needs" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "(coco protocol)" in capsys.readouterr().out
    data["images"][0]["neg_category_ids"] = []
    bare.write_text(json.dumps(data))
    assert main([*arguments, "--cross-check"]) == 0
    assert "(lvis protocol)" in capsys.readouterr().out
    assert f"39 of {len(data['images'])} images have no neg_category_ids" in caplog.text


def test_masks_without_segmentations_in_the_ground_truth(mini, tmp_path, results, capsys, caplog):
    data = json.loads(mini.val_json.read_text())
    objects = len(data["annotations"])
    bare = tmp_path / "bare.json"
    (tmp_path / "results.json").write_text(json.dumps(results))
    arguments = ["evaluate", "--gt", str(bare), "--results", str(tmp_path / "results.json"), "--iou", "bbox,segm"]

    def evaluate_without(number):
        for annotation in data["annotations"][:number]:
            annotation.pop("segmentation", None)
        bare.write_text(json.dumps(data))
        return main(arguments)

    assert evaluate_without(2) == 0
    assert f"2 of {objects} objects have no segmentation" in caplog.text
    assert evaluate_without(objects // 10 + 1) == 1
    assert re.search(rf"{objects // 10 + 1} of {objects} objects of .*bare\.json", capsys.readouterr().err)
    assert evaluate_without(objects) == 1
    assert "bare.json has no 'segmentation'" in capsys.readouterr().err


def test_results_of_a_part_of_the_images(mini, tmp_path, results, caplog):
    images = sorted({result["image_id"] for result in results})
    few = [result for result in results if result["image_id"] not in images[: len(images) // 11]]
    assert evaluate(mini, tmp_path, few) == 0
    assert "have no detection" not in caplog.text
    half = [result for result in results if result["image_id"] in images[: len(images) // 2]]
    assert evaluate(mini, tmp_path, half, "--iou", "bbox,segm") == 0
    assert caplog.text.count("images with objects have no detection") == 1


def test_counts_of_other_classes(mini, tmp_path, results, litter, capsys):
    assert evaluate(mini, tmp_path, results, "--train-stats", litter) == 1
    assert "has 12 classes, but the training set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--edges", 20, 60, 200], ["0-20", "21-60", "61-200", ">200"]),
        (["--groups", 4], ["group0", "group1", "group2", "group3"]),
        (["--by", "instances"], ["rare", "common", "frequent"]),
    ],
)
def test_buckets_that_a_user_chooses(mini, tmp_path, results, options, names, capsys):
    stats = ["--train-stats", mini.train_json]
    assert evaluate(mini, tmp_path, results, *stats, *options, "--out", tmp_path / "out") == 0
    written = json.loads((tmp_path / "out" / "inference" / "mini_lvis_val" / "evaluation.json").read_text())
    assert written["buckets"]["names"] == names
    assert written["buckets"]["by"] == ("instances" if "--by" in options else "images")
    assert evaluate(mini, tmp_path, results, *options) == 1
    assert "add --train-stats" in capsys.readouterr().err


def test_map_of_buckets(mini, tmp_path, results, capsys, caplog):
    names = [category["name"] for category in load_annotations(mini.val_json)["categories"]]
    chosen = tmp_path / "map.json"
    options = ("--train-stats", mini.train_json, "--bucket-map", chosen)
    chosen.write_text(json.dumps({name: "base" if index < 5 else "novel" for index, name in enumerate(names)}))
    assert evaluate(mini, tmp_path, results, *options, "--cross-check") == 0
    checked = capsys.readouterr().out
    assert re.search(r"AP-base .*AP-novel ", checked, re.DOTALL)
    without_counts = options[2:]
    assert evaluate(mini, tmp_path, results, *without_counts, "--cross-check") == 0
    assert capsys.readouterr().out == checked
    assert not caplog.text
    assert evaluate(mini, tmp_path, results, *without_counts, "--by", "instances") == 1
    assert "--by" in capsys.readouterr().err
    chosen.write_text(json.dumps({names[0]: "base"}))
    assert evaluate(mini, tmp_path, results, *options) == 0
    assert "11 of 12 classes of" in caplog.text
    assert "are in no bucket of the map." in caplog.text
    chosen.write_text('{"unicorn": "base"}')
    for some in (options, without_counts):
        assert evaluate(mini, tmp_path, results, *some) == 1
        assert "'unicorn'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate(mini, tmp_path, results, *options, "--groups", 2)
    assert "argument --groups: not allowed with argument --bucket-map" in capsys.readouterr().err


def test_unusual_detections_are_counted(mini, tmp_path, results, caplog):
    image = results[0]
    flat = image | {"bbox": [5, 5, 0, 7], "score": 0.111}
    assert evaluate(mini, tmp_path, [*results, flat, results[1], results[1]], "--cross-check") == 0
    assert "1 box without width or height" in caplog.text
    assert "2 boxes equal to another" in caplog.text

    small = mask_utils.encode(np.asfortranarray(np.ones((7, 7), dtype=np.uint8)))
    small["counts"] = small["counts"].decode()
    odd = [*results, image | {"segmentation": small}, results[1], results[2] | {"bbox": [0, 0, 1, 1]}]
    assert evaluate(mini, tmp_path, odd, "--iou", "segm", "--cross-check") == 0
    assert "2 masks equal to another" in caplog.text
    assert "1 mask of another size than the image" in caplog.text


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 2, *[st.sampled_from([-0.0, 0.0, 0.5, 1e-300])] * 5), max_size=40))
def test_number_of_duplicates(rows):
    columns = np.asarray(rows, dtype=np.float64).reshape(-1, 7)
    ids = columns[:, :2].astype(np.int64)
    found = Detections(ids[:, 0], ids[:, 1], columns[:, 2], columns[:, 3:])
    assert num_duplicates(found) == len(rows) - len(set(rows))  # 0.0 and -0.0 are equal in a set, too


def test_cross_check_of_a_pipe(mini, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    arguments = ["evaluate", "--gt", str(mini.val_json), "--results", str(tmp_path / "pipe"), "--cross-check"]
    assert main(arguments) == 1
    assert "pipe is a pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [7, 7], "counts": [10, 20]}, "'counts' cover 30 pixels, not its 7 x 7 pixels"),
        ({"size": [7, 7], "counts": [10, 200]}, "'counts' cover 210 pixels, not its 7 x 7 pixels"),
        ({"size": [7, 7], "counts": "52"}, "'counts' cover 7 pixels, not its 7 x 7 pixels"),
        ({"size": [7, 7], "counts": "5a"}, "'counts' are not an RLE of its 7 x 7 pixels"),
        ({"size": ["7", "7"], "counts": "a1"}, "with a 'segmentation' that is neither RLE nor polygons"),
        ({"size": [2**70, 7], "counts": "a1"}, "with a 'segmentation' that is neither RLE nor polygons"),
        ([[1, 2, 30, 4, 30, float("nan")]], "with a 'segmentation' that is neither RLE nor polygons"),
        ([[1, 2, 1e12, 4, 30, 1e12]], "with a 'segmentation' that is neither RLE nor polygons"),
    ],
)
def test_masks_on_which_pycocotools_hangs_or_crashes(mini, tmp_path, results, capsys, segmentation, message):
    assert evaluate(mini, tmp_path, [*results, results[0] | {"segmentation": segmentation}], "--iou", "segm") == 1
    error = capsys.readouterr().err
    assert "results.json has a detection in image " in error
    assert message in error


def test_scores_may_be_logits(mini, tmp_path, results, capsys):
    shifted = [result | {"score": result["score"] - 5} for result in results]
    assert evaluate(mini, tmp_path, results) == evaluate(mini, tmp_path, shifted) == 0
    first, second = re.findall(r"│ AP\s+│\s+(\S+)", capsys.readouterr().out)
    assert first == second
