"""`lt-det split`."""

import json
import re

import pytest

from lt_det.cli import main


@pytest.fixture
def annotations(tmp_path):
    """30 images of 3 classes: in 28 images, in 2 and in 1."""
    classes = [1] * 28 + [2] * 2
    data = {
        "images": [
            {"id": i, "width": 9, "height": 9, "file_name": f"v{i % 5}_frame{i:03}.jpg", "video_id": i % 5}
            for i in range(30)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": c, "bbox": [0, 0, 4, 4.25], "big": 2**70}
            for i, c in enumerate(classes)
        ],
        "categories": [{"id": c, "name": name} for c, name in ((1, "can"), (2, "cup"), (3, "straw"))],
        "info": {"höhe": "ü", "nothing": None},
    }
    data["annotations"].append({"id": 30, "image_id": 5, "category_id": 3, "bbox": [0, 0, 4, 4]})
    path = tmp_path / "all.json"
    path.write_text(json.dumps(data))
    return path


def split(capsys, *arguments):
    code = main(["split", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def read(folder, *names):
    return [json.loads((folder / f"{name}.json").read_text()) for name in names]


def test_parts_are_written(capsys, annotations, tmp_path):
    out = tmp_path / "new" / "parts"
    code, text, err = split(capsys, annotations, "--test", 0.1, "--out", out)
    assert code == 0, err
    parts = read(out, "train", "val", "test")
    assert [len(part["images"]) for part in parts] == [21, 6, 3]
    data = json.loads(annotations.read_text())
    for key in ("images", "annotations"):
        records = sorted((record for part in parts for record in part[key]), key=lambda record: record["id"])
        assert records == data[key]
    assert all(part["info"] == data["info"] for part in parts)
    assert "70.0 %" in text
    assert "1 class is not in val: straw (1 image); annotate more images of it" in text
    assert "cup (2 images), straw (1 image)" in text
    assert "straw" not in text.partition("in val")[0]
    assert not (out / ".unfinished").exists()


def test_existing_files_stay(capsys, annotations, tmp_path):
    out = tmp_path / "parts"
    assert split(capsys, annotations, "--out", out)[0] == 0
    before = (out / "val.json").read_bytes()
    code, _, err = split(capsys, annotations, "--out", out, "--seed", 5)
    assert code == 1
    assert "--force" in err
    assert (out / "val.json").read_bytes() == before
    assert split(capsys, annotations, "--out", out, "--seed", 5, "--force")[0] == 0
    assert (out / "val.json").read_bytes() != before


def test_a_part_of_an_earlier_split_is_noticed(capsys, annotations, tmp_path, caplog):
    """It has images of the new parts; a test set of other images, and the annotations themselves, may be there."""
    out = tmp_path / "parts"
    split(capsys, annotations, "--out", out, "--test", 0.2)
    earlier = (out / "test.json").read_bytes()
    assert split(capsys, annotations, "--out", out, "--force", "--group-by", "video_id")[0] == 0
    assert str(out / "test.json") in caplog.text
    assert "--test" in caplog.text
    assert (out / "test.json").read_bytes() == earlier
    others = json.loads(annotations.read_text())
    for image in others["images"]:
        image["file_name"] = f"other/{image['file_name']}"
    whole = annotations.rename(out / "whole.json")
    for content in (json.dumps(others), "[1, 2]", whole.read_text()):
        caplog.clear()
        (out / "test.json").write_text(content)
        source = out / "test.json" if content == whole.read_text() else whole
        assert split(capsys, source, "--out", out, "--force", "--group-by", "video_id")[0] == 0
        assert caplog.text == ""


def test_the_annotations_themselves_are_not_replaced(capsys, annotations, tmp_path):
    source = annotations.rename(tmp_path / "train.json")
    code, _, err = split(capsys, source, "--out", tmp_path, "--force")
    assert code == 1
    assert "train.json" in err
    assert len(json.loads(source.read_text())["images"]) == 30


@pytest.mark.parametrize(
    "options", [("--group-by", "video_id"), ("--group-pattern", r"^(v\d)_"), ("--group-pattern", "v.")]
)
def test_videos_stay_together(capsys, annotations, tmp_path, caplog, options):
    assert split(capsys, annotations, "--out", tmp_path, *options)[0] == 0
    train, val = ({image["video_id"] for image in part["images"]} for part in read(tmp_path, "train", "val"))
    assert not train & val
    assert len(train | val) == 5
    assert caplog.text == ""


def test_videos_are_noticed(capsys, annotations, tmp_path, caplog):
    assert split(capsys, annotations, "--out", tmp_path)[0] == 0
    assert "--group-by video_id" in caplog.text
    caplog.clear()
    data = json.loads(annotations.read_text())
    for image in data["images"]:
        del image["video_id"]
    annotations.write_text(json.dumps(data))
    assert split(capsys, annotations, "--out", tmp_path, "--force")[0] == 0
    pattern = caplog.text.partition("--group-pattern '")[2].partition("'")[0]
    caplog.clear()
    assert split(capsys, annotations, "--out", tmp_path, "--force", "--group-pattern", pattern)[0] == 0
    train, val = ({image["file_name"][:2] for image in part["images"]} for part in read(tmp_path, "train", "val"))
    assert not train & val
    assert caplog.text == ""


def test_images_that_share_a_file_are_noticed(capsys, annotations, tmp_path, caplog):
    """As after a merge of two exports; --group-by file_name, which the message names, keeps them together."""
    for copies in (1, 2):
        data = json.loads(annotations.read_text())
        for number, image in enumerate(data["images"]):
            del image["video_id"]
            image["file_name"] = f"photo{number // copies}.jpg"
        half = sum(number % copies for number in range(len(data["images"])))
        (tmp_path / "photos.json").write_text(json.dumps(data))
        caplog.clear()
        split(capsys, tmp_path / "photos.json", "--out", tmp_path, "--force")
        assert (f"({half} of them)" in caplog.text and "--group-by file_name" in caplog.text) == (copies == 2)
    caplog.clear()
    split(capsys, tmp_path / "photos.json", "--out", tmp_path, "--force", "--group-by", "file_name")
    train, val = ({image["file_name"] for image in part["images"]} for part in read(tmp_path, "train", "val"))
    assert not train & val
    assert not caplog.text


def test_augmented_copies_are_noticed(capsys, annotations, tmp_path, caplog):
    data = json.loads(annotations.read_text())
    for copies in (1, 3):  # an export without augmentation has one of each
        caplog.clear()
        for number, image in enumerate(data["images"]):
            image.pop("video_id", None)
            image["file_name"] = f"photo{number // copies}_jpg.rf.{number:032x}.jpg"
        annotations.write_text(json.dumps(data))
        assert split(capsys, annotations, "--out", tmp_path, "--force")[0] == 0
        assert ("copies of photographs" in caplog.text) == (copies > 1)
    pattern = caplog.text.partition("--group-pattern '")[2].partition("'")[0]
    caplog.clear()
    assert split(capsys, annotations, "--out", tmp_path, "--force", "--group-pattern", pattern)[0] == 0
    train, val = (
        {image["file_name"].partition(".rf.")[0] for image in part["images"]} for part in read(tmp_path, "train", "val")
    )
    assert not train & val
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--val", "1.2"], "--val is 1.2"),
        (["--val", "0"], "--val and --test sum to 0"),
        (["--val", "0.5", "--test", "0.5"], "--val and --test sum to 1"),
        (["--val", "nan"], "--val is nan"),
        (["--group-by", "clip"], "no 'clip'.*video_id"),
        (["--group-pattern", "("], "--group-pattern '[(]' is no"),
        (["--group-pattern", "_f(a|b)"], "does not match v0_frame000.jpg"),
    ],
)
def test_refused_options(capsys, annotations, tmp_path, options, message):
    out = tmp_path / "parts"
    code, _, err = split(capsys, annotations, "--out", out, *options)
    assert code == 1
    assert re.search(message, err), err
    assert not out.exists()


def test_not_finite_numbers_are_kept(capsys, annotations, tmp_path):
    annotations.write_text(annotations.read_text().replace('"nothing": null', '"nothing": NaN'))
    assert split(capsys, annotations, "--out", tmp_path)[0] == 0
    assert "NaN" in (tmp_path / "val.json").read_text()


def test_a_video_id_of_any_type_does_not_end_the_split(capsys, annotations, tmp_path):
    data = json.loads(annotations.read_text())
    data["images"][0]["video_id"] = [1]
    annotations.write_text(json.dumps(data))
    assert split(capsys, annotations, "--out", tmp_path)[0] == 0


def test_a_whole_number_may_be_a_float(capsys, annotations, tmp_path):
    data = json.loads(annotations.read_text())
    for image in data["images"][::2]:
        image["video_id"] = float(image["video_id"])
    annotations.write_text(json.dumps(data))
    assert split(capsys, annotations, "--out", tmp_path, "--group-by", "video_id")[0] == 0
    train, val = ({image["video_id"] for image in part["images"]} for part in read(tmp_path, "train", "val"))
    assert not train & val
    data["images"][0]["video_id"] = 0.5
    annotations.write_text(json.dumps(data))
    code, _, err = split(capsys, annotations, "--out", tmp_path, "--group-by", "video_id", "--force")
    assert code == 1
    assert "'video_id'" in err


@pytest.mark.parametrize("number", ["1e400", "-1.5E+0999", "1" * 400 + ".0"])
def test_a_number_that_no_float_holds_is_refused(capsys, annotations, tmp_path, number):
    annotations.write_text(annotations.read_text().replace('"nothing": null', f'"nothing": {number}'))
    code, _, err = split(capsys, annotations, "--out", tmp_path / "parts")
    assert code == 1
    assert number[:9] in err
    assert not (tmp_path / "parts").exists()


def test_texts_like_large_numbers_are_kept(capsys, annotations, tmp_path):
    annotations.write_text(annotations.read_text().replace('"nothing": null', '"nothing": "1e400"'))
    assert split(capsys, annotations, "--out", tmp_path)[0] == 0
    assert '"1e400"' in (tmp_path / "val.json").read_text()
