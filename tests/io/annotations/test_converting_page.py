"""The lines of docs/converting.md do what it says."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from lt_det.io.annotations.coco_json import load_annotations
from tests.helpers import REPOSITORY

PAGE = (REPOSITORY / "docs" / "converting.md").read_text()
SIZES = {"a b.png": (80, 60), "c.png": (40, 50)}


def lines_of(heading):
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine" / "photos").mkdir(parents=True)
    for name, (width, height) in SIZES.items():
        cv2.imwrite(str(tmp_path / "mine" / "photos" / name), np.zeros((height, width, 3), np.uint8))
    return tmp_path


def run(folder, program, *arguments):
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def by_file(data):
    """[class name, box] of each object, by file name."""
    names = {category["id"]: category["name"] for category in data["categories"]}
    found = {image["file_name"]: [] for image in data["images"]}
    files = {image["id"]: image["file_name"] for image in data["images"]}
    for annotation in data["annotations"]:
        found[files[annotation["image_id"]]].append([names[annotation["category_id"]], annotation["bbox"]])
    return found


def label_studio_tasks():
    def result(kind, value):
        return {"type": kind, "original_width": 80, "original_height": 60, "value": {**value, kind: ["cup"]}}

    box = {"x": 12.5, "y": 10, "width": 25, "height": 50, "rotation": 0}
    triangle = {"points": [[50, 50], [100, 50], [100, 100]], "closed": True}
    results = [result("rectanglelabels", box), result("polygonlabels", triangle)]
    results[1]["value"]["polygonlabels"] = ["can"]
    return [
        {"id": 7, "annotations": [{"result": results}], "data": {"image": "/data/upload/1/0a1b2c3d-a%20b.png"}},
        {"id": 9, "annotations": [{"result": []}], "data": {"image": "/data/upload/1/0a1b2c3e-c.png"}},
    ]


def test_label_studio(folder):
    tasks = label_studio_tasks()
    (folder / "export.json").write_text(json.dumps(tasks))
    done = run(folder, lines_of("Label Studio"), "export.json", "mine/photos", "mine/all.json")
    assert done.returncode == 0, done.stderr
    data = load_annotations(folder / "mine" / "all.json")
    assert by_file(data) == {"a b.png": [["cup", [10, 6, 20, 30]], ["can", [40, 30, 40, 30]]], "c.png": []}
    assert [(image["width"], image["height"]) for image in data["images"]] == list(SIZES.values())
    assert [annotation["area"] for annotation in data["annotations"]] == [600, 600]
    assert [annotation["segmentation"] for annotation in data["annotations"]] == [[], [[40, 30, 80, 30, 80, 60]]]

    tasks[0]["annotations"][0]["result"][0]["value"]["rotation"] = 30
    (folder / "export.json").write_text(json.dumps(tasks))
    done = run(folder, lines_of("Label Studio"), "export.json", "mine/photos", "mine/all.json")
    assert done.returncode == 1
    assert "task 7" in done.stderr


def test_pascal_voc(folder):
    pytest.importorskip("supervision")
    (folder / "mine" / "voc").mkdir()
    box = "<bndbox><xmin>11</xmin><ymin>7</ymin><xmax>30</xmax><ymax>36</ymax></bndbox>"
    (folder / "mine" / "voc" / "a b.xml").write_text(
        f"<annotation><filename>x.jpg</filename><object><name>cup</name>{box}</object></annotation>"
    )
    done = run(folder, lines_of("Pascal VOC"))
    assert done.returncode == 0, done.stderr
    data = load_annotations(folder / "mine" / "all.json")
    assert by_file(data) == {"a b.png": [["cup", [10, 6, 20, 30]]], "c.png": []}


def test_yolo(folder):
    pytest.importorskip("supervision")
    (folder / "mine" / "photos").rename(folder / "mine" / "images")
    (folder / "mine" / "labels").mkdir()
    (folder / "mine" / "labels" / "a b.txt").write_text("1 0.25 0.35 0.25 0.5\n")
    (folder / "mine" / "data.yaml").write_text("names: [zebra, cup]\n")
    done = run(folder, lines_of("YOLO"))
    assert done.returncode == 0, done.stderr
    data = load_annotations(folder / "mine" / "all.json")
    found = by_file(data)
    assert found["c.png"] == []
    ((name, found_box),) = found["a b.png"]
    assert name == "cup"
    assert found_box == pytest.approx([10, 6, 20, 30], abs=0.001)
