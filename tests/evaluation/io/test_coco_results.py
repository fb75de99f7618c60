"""Results files are read in pieces, with the same result as when they are read as a whole."""

import json
import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.errors import LtDetError
from lt_det.evaluation.io import coco_results
from lt_det.evaluation.io.coco_results import Results, load_results

TASKS = ["bbox", "segm"]


def same(read, expected):
    for name in ("image_ids", "category_ids", "scores", "boxes"):
        assert np.array_equal(getattr(read, name), getattr(expected, name))
    assert read.segmentations == expected.segmentations


numbers = st.floats(allow_nan=False, allow_infinity=False)
ids = st.integers(0, 2**63 - 1)
detections = st.fixed_dictionaries(
    {
        "image_id": ids,
        "category_id": ids,
        "score": numbers,
        "bbox": st.lists(numbers, min_size=4, max_size=4),
        "segmentation": st.fixed_dictionaries({"size": st.lists(ids, min_size=2, max_size=2), "counts": st.text()}),
    },
    optional={  # what could be mistaken for the boundary of two detections
        "note": st.sampled_from(['}, {"', '}\\", {', "},{", "]", "\\"]),
        "parts": st.just([{"a": {}}, {"b": [{}, {}]}]),
    },
)


@given(st.lists(detections, max_size=12), st.integers(1, 300), st.sampled_from([None, 1]))
def test_pieces_of_any_size(tmp_path_factory, results, size, indent):
    file = tmp_path_factory.mktemp("results") / "results.json"
    file.write_text(json.dumps(results, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_results, "_PIECE_SIZE", size)
        if not any("note" in result or "parts" in result for result in results):
            patch.setattr(coco_results, "read_json", None)  # none of these needs to be read as a whole
        same(load_results(file, TASKS), Results.from_list(results, TASKS))


def detection(**changes):
    return {"image_id": 1, "category_id": 2, "score": 0.5, "bbox": [1, 2, 3, 4]} | changes


@pytest.mark.parametrize("image_id", ["a.jpg", 1.0, 2**70])
def test_unusual_ids(tmp_path, image_id):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([detection(), detection(image_id=image_id)]))
    assert load_results(file, ["bbox"]).image_ids.tolist() == [1, image_id]


def test_only_the_fields_that_tasks_need(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([detection(segmentation={"counts": "x"}, bbox=None)]))
    results = load_results(file, ["segm"])
    assert (results.boxes, results.segmentations) == (None, [{"counts": "x"}])
    with pytest.raises(LtDetError, match="'bbox'"):
        load_results(file, TASKS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"image_id": 1, "category_id": 2, "score": NaN, "bbox": [1, 2, 3, 4]}]', "score.*nan"),
        ('[{"image_id": 1, "category_id": 2, "score": true, "bbox": [1, 2, 3, 4]}]', "score.*True"),
        ('[{"image_id": 1, "category_id": 2, "score": 1e999, "bbox": [1, 2, 3, 4]}]', "score.*inf"),
        ('[{"image_id": 1, "category_id": 2, "score": 1, "bbox": [1, 2, 3]}]', "'bbox'"),
        ('[{"image_id": 1, "category_id": 2, "score": 1, "bbox": [1, 2, 3, 4]}, 7]', "not a list of detections"),
        ("[[]]", "not a list of detections; write COCO results"),
        (json.dumps({"results": [detection()]}), "its 'results' is one: write this list alone"),
        (json.dumps({"images": [{"id": 1}], "annotations": [detection()]}), "its 'annotations' is one"),
        (json.dumps({"annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}), "its 'annotations' have no 'score'"),
        ('{"predictions": []}', "not a list of detections; write COCO results"),
        ('[{"image_id": 1, "category_id": 2, "score": 1, "segmentation": {}}]', "no 'bbox'; .*--iou segm"),
        ('[{"image_id": 1, "score": 1, "label": "cup"}]', "no 'category_id'.*has 'image_id', 'score', 'label'"),
        ('{"image_id": 1}\n{"image_id": 1}', "json lines"),
        ("\xff", "is not valid json"),
        ("[" * 100_000, "is not valid json"),
    ],
)
def test_mistakes_are_reported_wherever_they_are(tmp_path, text, message, monkeypatch):
    monkeypatch.setattr(coco_results, "_PIECE_SIZE", 100)
    file = tmp_path / "results.json"
    before = json.dumps([detection()] * 5)[:-1] + ", "
    for start in ("", before) if text.startswith("[{") else ("",):
        file.write_text(start + text[bool(start) :], encoding="latin-1")
        with pytest.raises(LtDetError, match=message):
            load_results(file, ["bbox"])


def test_progress_follows_the_file_size(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_results, "_PIECE_SIZE", 100)
    file = tmp_path / "results.json"
    file.write_text(json.dumps([detection()] * 50))
    steps = []
    load_results(file, ["bbox"], lambda items: steps.append(list(items)) or steps[0])
    assert len(steps[0]) == -(-file.stat().st_size // 100)


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writing = threading.Thread(target=(tmp_path / "pipe").write_text, args=(json.dumps([detection()]),))
    writing.start()
    assert len(load_results(tmp_path / "pipe", ["bbox"])) == 1
    writing.join()
