"""`lt-det subset`."""

import json
import re

import pytest

from lt_det.cli import main
from tests.helpers.annotation_files import write_litter


@pytest.fixture
def annotations(tmp_path):
    return write_litter(tmp_path / "all.json")


def subset(capsys, *arguments):
    code = main(["subset", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_table_and_summary(capsys, annotations, tmp_path):
    out = tmp_path / "subset.json"
    options = ("--imbalance", "exponential", "--ratio", 10, "--num-classes", 5, "--out", out)
    code, text, err = subset(capsys, annotations, *options)
    assert code == 0, err
    data = json.loads(out.read_text())
    counts = {
        category["name"]: len({a["image_id"] for a in data["annotations"] if a["category_id"] == category["id"]})
        for category in data["categories"]
    }
    rows = [re.findall(r"[\w ]*\w", line) for line in text.splitlines() if "litter" in line and "│" in line]
    assert len(rows) == 5
    assert abs(counts["litter 0"] - int(rows[0][3])) <= 1  # a crowd region is not counted
    for name, before, target, achieved in [[cell.strip() for cell in row] for row in rows[1:]]:
        assert int(achieved) == counts[name]
        assert int(achieved) <= int(before)
        assert int(target) >= 1
    assert f"{len(data['images'])} of " in text
    assert re.search(r"^Ratio .*: 10\)$", text, re.MULTILINE)
    assert str(out) in text


def test_many_classes_are_shortened(capsys, tmp_path):
    images = [{"id": i, "width": 9, "height": 9, "file_name": f"{i}.jpg"} for i in range(60)]
    boxes = [{"id": i, "image_id": i, "category_id": i % 30, "bbox": [0, 0, 4, 4]} for i in range(60)]
    names = [{"id": k, "name": f"thing{k}"} for k in range(30)]
    source = tmp_path / "all.json"
    source.write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))
    code, text, err = subset(capsys, source, "--imbalance", "step", "--ratio", 2, "--out", tmp_path / "new.json")
    assert code == 0, err
    assert "10 more" in text
    assert "thing9" in text
    assert "thing12" not in text


def test_files_are_not_replaced(capsys, annotations, tmp_path):
    out = tmp_path / "subset.json"
    options = (annotations, "--imbalance", "step", "--ratio", 2)
    assert subset(capsys, *options, "--out", out)[0] == 0
    before, source = out.read_bytes(), annotations.read_bytes()
    code, _, err = subset(capsys, *options, "--out", out, "--seed", 1)
    assert code == 1
    assert "--force" in err
    assert out.read_bytes() == before
    assert subset(capsys, *options, "--out", out, "--seed", 1, "--force")[0] == 0
    assert out.read_bytes() != before
    code, _, err = subset(capsys, *options, "--out", annotations, "--force")
    assert code == 1
    assert "all.json" in err
    assert annotations.read_bytes() == source


def test_classes_of_a_subset(capsys, annotations, tmp_path):
    train, val = tmp_path / "train.json", tmp_path / "val.json"
    options = ("--imbalance", "step", "--ratio", 2, "--num-classes", 3)
    assert subset(capsys, annotations, *options, "--out", train)[0] == 0
    code, text, err = subset(capsys, annotations, "--classes-of", train, "--out", val)
    assert code == 0, err
    assert "240 images, 3 classes" in text
    assert json.loads(val.read_text())["categories"] == json.loads(train.read_text())["categories"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--imbalance", "step"], "--ratio"),
        (["--imbalance", "step", "--ratio", "0.1"], "0.1"),
        (["--imbalance", "step", "--ratio", "5000"], "ratio 5000"),
        (["--imbalance", "step", "--ratio", "2", "--num-classes", "99"], "99 classes"),
        (["--classes-of", "all.json", "--seed", "0"], "--seed"),
        (["--classes-of", "missing.json"], "missing.json"),
    ],
)
def test_refused_options(capsys, annotations, tmp_path, monkeypatch, options, named):
    monkeypatch.chdir(tmp_path)
    code, _, err = subset(capsys, annotations, *options, "--out", tmp_path / "new.json")
    assert code == 1
    assert named in err
    assert not (tmp_path / "new.json").exists()


def test_unknown_imbalance(capsys, annotations, tmp_path):
    with pytest.raises(SystemExit):
        main(["subset", str(annotations), "--imbalance", "pareto", "--ratio", "2", "--out", str(tmp_path / "new.json")])
    assert "pareto" in capsys.readouterr().err
