"""The Python of docs/evaluation.md runs as it stands there."""

import json
import re

from lt_det.io.annotations.coco_json import load_annotations
from tests.helpers import REPOSITORY
from tests.helpers.worlds import noisy_detections

BLOCKS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "evaluation.md").read_text(), re.DOTALL)


def test_snippets(mini, tmp_path, monkeypatch, capsys):
    data = load_annotations(mini.val_json)
    first = data["images"][0]["id"]
    for entry in data["images"]:
        entry["id"] = 139 if entry["id"] == first else entry["id"] + 1000
    for entry in data["annotations"]:
        entry["image_id"] = 139 if entry["image_id"] == first else entry["image_id"] + 1000
    results = [{key: d[key] for key in ("image_id", "category_id", "score", "bbox")} for d in noisy_detections(data)]
    (tmp_path / "val.json").write_text(json.dumps(data))
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "train.json").write_bytes(mini.train_json.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 4
    exec("\n".join(BLOCKS), {})
    printed = capsys.readouterr().out
    assert printed.startswith("Boxes, val (lvis protocol)\n")
    assert "ClassResult(id=" in printed
    assert (tmp_path / "output" / "theirs" / "inference" / "val" / "evaluation.json").is_file()
