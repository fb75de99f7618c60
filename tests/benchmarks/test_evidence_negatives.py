"""EQL against sigmoid by the number of absent classes that are evaluated."""

import json

import pytest

from benchmarks.evidence import rows
from benchmarks.evidence.negatives import NUMBERS, compared, table, with_negatives
from benchmarks.evidence.rows import write_row


@pytest.fixture
def truth(mini):
    return json.loads(mini.val_json.read_text())


@pytest.mark.parametrize("number", [0, 3, None])
def test_absent_classes_are_drawn(truth, number):
    categories = {category["id"] for category in truth["categories"]}
    for image in with_negatives(truth, number)["images"]:
        present = {one["category_id"] for one in truth["annotations"] if one["image_id"] == image["id"]}
        negatives = set(image["neg_category_ids"])
        assert not negatives & present
        assert len(negatives) == (len(categories - present) if number is None else number)


def test_false_positives_count_where_their_class_is_evaluated(mini, truth, tmp_path, monkeypatch):
    """A detector that also calls every object the first class is worse than one that does not, the more the more."""
    right = [
        {key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5} for one in truth["annotations"]
    ]
    first = truth["categories"][0]["id"]
    wrong = [one | {"category_id": first, "score": 0.9} for one in right if one["category_id"] != first]
    folders = {}
    for name, detections in (("confused", right + wrong), ("right", right)):
        folders[name] = tmp_path / name
        file = folders[name] / "inference" / "mini_lvis_val" / "instances_predictions.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(detections))
    numbers = compared(folders, truth, mini.train_json)
    assert [one["negatives"] for one in numbers] == list(NUMBERS)
    losses = [one["differences"]["AP"] for one in numbers]
    assert 0 > losses[0][0] > losses[-1][0]
    assert all(low <= value <= high for value, low, high in losses)

    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    write_row("negatives", "confused", {"dataset": "mini", "numbers": numbers})
    last = table().splitlines()[-1]
    assert last.startswith(f"| mini | all | {losses[-1][0]:.1f} [")
