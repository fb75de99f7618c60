"""detections.json holds the detections of one detector, also where calls are interrupted."""

import json
from pathlib import Path

from lt_det.inference.media import MediaFile
from lt_det.inference.numbers_file import NumbersFile


def test_an_interrupted_call_with_another_threshold_leaves_no_mixture(tmp_path):
    media = [MediaFile(Path(f"{name}.jpg"), tmp_path / f"{name}.jpg") for name in "ab"]
    images = [{"result": str(one.result), "detections": []} for one in media]
    NumbersFile(tmp_path, {"threshold": 0.3}, media).write(images)
    NumbersFile(tmp_path, {"threshold": 0.5}, media).write(images[:1])  # the second image was not reached
    content = json.loads((tmp_path / "detections.json").read_text())
    assert (content["threshold"], content["images"]) == (0.5, images[:1])
    NumbersFile(tmp_path, {"threshold": 0.5}, media[1:]).write(images[1:])
    assert json.loads((tmp_path / "detections.json").read_text())["images"] == images
