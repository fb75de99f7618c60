import json

import msgspec
import pytest

from lt_det.errors import LtDetError
from lt_det.evaluation.bakeoff_schema import read_bakeoff, seen_buckets, write_bakeoff
from tests.helpers.bakeoffs import TWO, UNSEEN, bakeoff


@pytest.fixture(scope="module")
def finished():
    return bakeoff(num_classes=12)


@pytest.mark.parametrize("division", [TWO, UNSEEN])
def test_a_file_is_read_as_it_was_written(tmp_path, division):
    content = bakeoff(num_classes=12, division=division, pending=("ib",))
    file = write_bakeoff(content, tmp_path / "new")
    assert read_bakeoff(file) == content
    assert [path.name for path in file.parent.iterdir()] == ["bakeoff.json"]


def test_what_stands_where(finished):
    assert finished.baseline.kind == "retrained"
    assert finished.bucket_metrics == ["APr", "APc", "APf"]
    assert finished.has_intervals
    assert not bakeoff(num_classes=12, draws=0).has_intervals
    assert seen_buckets(["unseen", "rare", "common"]) == ["rare", "common"]
    assert seen_buckets(["unseen"]) == ["unseen"]
    assert not finished.entry("cdt").finished
    folds = finished.entry("seesaw").folds
    assert finished.entry("seesaw").fold_mean("AP") == pytest.approx(sum(fold.metrics["AP"] for fold in folds) / 3)


def shorten_class_ap(content):
    content["candidates"][2]["seeds"][1]["class_ap"].pop()


def repeat_name(content):
    content["candidates"][3]["name"] = "seesaw"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda content: content.pop("dataset"), "dataset"),
        (lambda content: content.update(seeds="three"), "seeds"),
        (lambda content: content["candidates"][2].update(kind="lucky"), "kind"),
        (
            lambda content: content["candidates"][2]["seeds"][0]["metrics"].pop("APr"),
            "'seesaw': seeds has no metric APr",
        ),
        (lambda content: content["candidates"][2]["folds"][0]["metrics"].pop("AP"), "'seesaw': folds has no metric AP"),
        (lambda content: content["candidates"][2]["metrics"].pop("APf"), "'seesaw': metrics has no APf"),
        (lambda content: content["classes"][0].update(bucket="scarce"), "'scarce'"),
        (lambda content: content["recommendation"].update(name="nobody"), "'nobody'"),
        (shorten_class_ap, "class_ap has 11 entries, not 12"),
        (repeat_name, "'seesaw' twice"),
    ],
)
def test_a_file_of_another_content(finished, tmp_path, change, key):
    content = json.loads(json.dumps(finished.to_dict()))
    change(content)
    file = tmp_path / "bakeoff.json"
    file.write_text(json.dumps(content))
    with pytest.raises(LtDetError, match=r"bakeoff\.json") as caught:
        read_bakeoff(file)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{", b'{"dataset": NaN}', b"\xff\xfe"])
def test_a_corrupt_file(tmp_path, content):
    file = tmp_path / "bakeoff.json"
    file.write_bytes(content)
    with pytest.raises(LtDetError, match=r"bakeoff\.json"):
        read_bakeoff(file)
    with pytest.raises(LtDetError, match="nowhere"):
        read_bakeoff(tmp_path / "nowhere")


def test_numbers_that_are_not_finite_are_never_written(finished, tmp_path):
    broken = msgspec.structs.replace(finished, seconds={"features": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        write_bakeoff(broken, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(finished, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LtDetError, match="file"):
        write_bakeoff(finished, tmp_path / "file")
