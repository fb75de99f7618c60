"""Dense scenes: a limit that hides objects is warned of, and other limits are marked wherever numbers appear."""

import json

import numpy as np
import pytest

from lt_det.cli import main
from lt_det.errors import LtDetError
from lt_det.evaluation import LongTailAP, evaluate
from lt_det.evaluation.checks import warn_of_full_images
from lt_det.evaluation.protocols import COCO, FIXED, LVIS, PROTOCOLS
from lt_det.evaluation.reference import official_table
from lt_det.evaluation.schema import read_evaluation
from lt_det.reporting import write_comparison, write_report
from tests.helpers.worlds import context_of, small_world, table_of


def dense(number, num_classes=1, images=2):
    """Objects side by side in the first image, and one in every other; all of them are detected."""
    places = [(1, index) for index in range(number)] + [(image, 0) for image in range(2, images + 1)]
    annotations = [
        {"id": id_, "image_id": image, "category_id": 1 + index % num_classes}
        | {"bbox": [index % 50 * 20, index // 50 * 20, 16, 16], "area": 256, "iscrowd": 0}
        for id_, (image, index) in enumerate(places, start=1)
    ]
    data = {
        "images": [
            {"id": image, "height": 1000, "width": 1000, "neg_category_ids": []} for image in range(1, images + 1)
        ],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(num_classes)],
        "annotations": annotations,
    }
    results = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1 - a["id"] / 10**5}
        for a in annotations
    ]
    return data, results


@pytest.mark.parametrize(
    ("protocol", "data", "words"),
    [
        (
            "coco",
            dense(150),
            (
                "more objects of a class than the limit of 100 detections per image and class in 1 image ",
                "up to 150",
                "50 of 151 objects",
            ),
        ),
        (
            "lvis",
            dense(310, 3),
            ("more objects than the limit of 300", "image in 1 image ", "up to 310", "10 of 311 objects"),
        ),
    ],
)
def test_what_the_limit_hides_is_said(protocol, data, words, caplog):
    result = evaluate(*data, protocol=protocol)
    assert result.metrics["bbox"]["AR"] < 99
    for word in words:
        assert word in caplog.text
    caplog.clear()
    raised = evaluate(*data, protocol=protocol, max_dets=400)
    assert raised.metrics["bbox"]["AP"] == pytest.approx(100)
    assert "hold more objects" not in caplog.text


@pytest.mark.parametrize(("protocol", "number"), [("coco", 100), ("lvis", 300), ("coco", 5)])
def test_the_limit_itself_is_enough(protocol, number, caplog):
    evaluate(*dense(number), protocol=protocol)
    assert "more objects" not in caplog.text


def test_the_limit_of_a_class(caplog):
    data, results = dense(40, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "fixed", FIXED.with_max_dets(15))
        evaluate(data, results, protocol="fixed")
    assert "more objects than the limit of 15 detections per class in 2 classes" in caplog.text
    assert "11 of 41 objects" in caplog.text


def test_detections_of_the_model(caplog):
    context = context_of(dense(40)[0], COCO)
    for limit in (40, 100, -1):
        warn_of_full_images(context, limit)
    assert not caplog.text
    warn_of_full_images(context, 39)
    assert "1 of 2 images hold more objects than the 39 detections" in caplog.text
    assert "TEST.DETECTIONS_PER_IMAGE" in caplog.text


def test_nothing_to_find_is_said(caplog):
    data, results = dense(3)
    for annotation in data["annotations"]:
        annotation["iscrowd"] = annotation["ignore"] = 1
    with pytest.MonkeyPatch.context() as patch:  # reading refuses a file of crowds only
        patch.setattr("lt_det.evaluation.io.ground_truth_input.check_annotations", lambda *_: None)
        for protocol in ("coco", "lvis"):
            caplog.clear()
            assert np.isnan(evaluate(data, results, protocol=protocol).metrics["bbox"]["AP"])
            assert "no object to find" in caplog.text
            assert "4 have" in caplog.text


@pytest.mark.parametrize("limit", [1, 3, 7, 12])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_official_packages_at_that_limit(limit, seed):
    truth, detections = small_world(seed)
    for protocol, limits in ((COCO, (300, limit)), (LVIS, (limit, 100))):
        precision, recall = official_table(protocol.name, truth, detections, "bbox", *limits)
        found = table_of(truth, detections, "bbox", protocol.with_max_dets(limit))
        np.testing.assert_array_equal(found[0], precision)
        np.testing.assert_array_equal(found[1], recall[..., -1])


@pytest.mark.parametrize("limit", [4, 200])
def test_the_check_uses_that_limit(limit, tmp_path):
    data, results = dense(40, 3)
    (tmp_path / "val.json").write_text(json.dumps(data))
    (tmp_path / "results.json").write_text(json.dumps(results))
    for protocol in ("coco", "lvis", "fixed"):
        files = ["--gt", str(tmp_path / "val.json"), "--results", str(tmp_path / "results.json")]
        assert main(["evaluate", *files, "--protocol", protocol, "--cross-check", "--max-dets", str(limit)]) == 0


def test_numbers_are_marked_wherever_they_appear(tmp_path, capsys):
    data, results = dense(150)
    (tmp_path / "val.json").write_text(json.dumps(data))
    (tmp_path / "results.json").write_text(json.dumps(results))
    files = ["evaluate", "--gt", tmp_path / "val.json", "--results", tmp_path / "results.json", "--protocol", "coco"]

    def evaluated(name, *options):
        assert main([*map(str, files), "--out", str(tmp_path / name), "--cross-check", *options]) == 0
        return " ".join(capsys.readouterr().out.split())

    words = "off the coco protocol: 200 instead of 100 detections per image and class"
    assert "off the" not in evaluated("own") + evaluated("same", "--max-dets", "100")
    assert words in evaluated("raised", "--max-dets", "200")
    file = tmp_path / "raised" / "inference" / "val" / "evaluation.json"
    content = json.loads(file.read_text())
    assert (content["protocol"], content["max_dets"]) == ("coco", 200)
    assert "max_dets" not in json.loads((tmp_path / "same" / "inference" / "val" / "evaluation.json").read_text())
    assert read_evaluation(file).rules == words
    report = write_report(tmp_path / "raised").parent
    for page in ("report.md", "report.html"):
        assert words in " ".join((report / page).read_text().split())
    with pytest.raises(LtDetError, match=r"other rules .*200 instead of 100"):
        write_comparison([tmp_path / "own", tmp_path / "raised"], tmp_path / "comparison")
    assert write_comparison([tmp_path / "own", tmp_path / "same"], tmp_path / "comparison").is_file()
    assert words in repr(evaluate(data, results, max_dets=200, protocol="coco"))


def test_the_accumulator_has_the_limit_too():
    data, results = dense(30, 2)
    expected = evaluate(data, results, protocol="coco", max_dets=4).to_dict()
    metric = LongTailAP(data, protocol="coco", max_dets=4)
    for image in (1, 2):
        own = [result for result in results if result["image_id"] == image]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (result["bbox"] for result in own)]
        arrays = {"labels": [r["category_id"] for r in own], "scores": [r["score"] for r in own], "boxes": corners}
        metric.update({image: arrays})
    assert metric.compute().to_dict() == expected
    assert expected["max_dets"] == 4


@pytest.mark.parametrize("max_dets", [0, -1, 1.5, True, "100", 2**31])
def test_other_limits_are_refused(max_dets, tmp_path, capsys):
    data, results = dense(2)
    with pytest.raises(LtDetError, match="max_dets is"):
        evaluate(data, results, max_dets=max_dets)
    with pytest.raises(LtDetError, match="max_dets is"):
        LongTailAP(data, max_dets=max_dets)
    if isinstance(max_dets, int) and not isinstance(max_dets, bool):
        arguments = ["evaluate", "--gt", "none", "--results", "none", "--max-dets", str(max_dets)]
        assert main(arguments) == 1
        assert "--max-dets is" in capsys.readouterr().err
