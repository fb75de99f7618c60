"""evaluation.json: files of earlier versions, what is written, and what is refused."""

import json
from pathlib import Path

import pytest

from lt_det.errors import LtDetError
from lt_det.evaluation.schema import parse_evaluation, read_evaluation, write_evaluation
from lt_det.reporting import write_comparison, write_report
from tests.helpers.evaluations import evaluation

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("name", ["without_draws.json", "with_draws.json"])
def test_a_file_of_an_earlier_version_is_read_and_written_unchanged(name, tmp_path):
    """Both were written by `lt-det evaluate` of commit 5371cfc, on detections of a few mini_lvis images."""
    content = json.loads((FIXTURES / name).read_text())
    read = read_evaluation(FIXTURES / name)
    assert read.to_dict() == content
    written = write_evaluation(read, tmp_path / "inference" / read.dataset)
    assert written.read_text() == json.dumps(content) + "\n"
    assert (read.tasks["bbox"].resamples is not None) == (name == "with_draws.json")
    assert write_report(tmp_path).is_file()


def test_files_of_an_earlier_version_can_be_compared(tmp_path):
    roots = []
    for name in ("without_draws.json", "with_draws.json"):
        folder = tmp_path / name / "inference" / "val"
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text((FIXTURES / name).read_text())
        roots.append(tmp_path / name)
    assert write_comparison(roots, tmp_path / "out").is_file()


def test_ids_beyond_64_bits(tmp_path):
    content = evaluation(3)
    content["classes"][0]["id"] = 2**70
    read = parse_evaluation(json.dumps(content))
    assert json.loads(write_evaluation(read, tmp_path).read_text())["classes"][0]["id"] == 2**70


def task(content):
    return content["tasks"]["bbox"]


@pytest.mark.parametrize(
    ("damage", "key"),
    [
        (lambda c: c.pop("dataset"), "dataset"),
        (lambda c: c.update(protocol=1), r"\$\.protocol"),
        (lambda c: c["buckets"].pop("names"), "names"),
        (lambda c: c["classes"][0].update(bucket="other"), "bucket 'other'"),
        (lambda c: c["classes"][0].update(images="many"), r"classes\[0\]\.images"),
        (lambda c: c.update(tasks={}), "tasks"),
        (lambda c: c.update(tasks={"boundary": task(c)}), "boundary"),
        (lambda c: task(c)["metrics"].pop("APr"), r"tasks\.bbox has no metrics\.APr"),
        (lambda c: task(c)["metrics"].update(AP="high"), "metrics"),
        (lambda c: task(c)["metrics"].update(AP=float("nan")), "byte"),
        (lambda c: task(c)["metrics"].update(AP=True), "metrics"),
        (lambda c: task(c)["bucket_sizes"].pop("rare"), "bucket_sizes.rare"),
        (lambda c: task(c)["class_ap"].pop(), "class_ap has 2 entries, not 3"),
        (lambda c: task(c)["class_ar"].append(1.0), "class_ar has 4 entries, not 3"),
        (lambda c: task(c)["intervals"].update(AP=[1.0]), "intervals"),
        (lambda c: task(c)["intervals"].update(AP=[None, 1.0]), "intervals"),
        (lambda c: task(c)["resamples"].pop("seed"), "seed"),
        (lambda c: task(c)["resamples"]["values"].update(AP=["x"]), "resamples.values"),
        (lambda c: task(c)["precision_recall"].pop("rare"), "precision_recall.rare"),
        (lambda c: task(c)["precision_recall"]["all"].pop("0.75"), "0.75"),
        (lambda c: task(c)["precision_recall"]["all"]["mean"].pop(), "precision_recall.all has 100 entries, not 101"),
        (lambda c: task(c)["errors"]["loss"]["all"].pop("miss"), "errors.loss.all.miss"),
        (lambda c: task(c)["errors"]["class_loss"].pop("miss"), "errors.class_loss.miss"),
        (lambda c: task(c)["errors"].update(iou="half"), "errors.iou"),
        (lambda c: c.update(version=3), "version 3 is newer"),
        (lambda c: c.update(protocol="voc"), "protocol|voc"),
        (lambda c: c.update(max_dets=0), "max_dets"),
        (lambda c: c.update(area_from="rle"), "area_from|rle"),
        (lambda c: c.update(note="mine"), "note"),
        (lambda c: task(c).update(class_arr=task(c).pop("class_ar")), "class_arr"),
        (lambda c: c["classes"][1].update(name=7), r"classes\[1\]\.name"),
        (lambda c: c["classes"][1].update(images=-1), r"classes\[1\]\.images|>= 0"),
        (lambda c: c["classes"][1].update(objects=2**64), "objects|<= "),
        (lambda c: c["buckets"].update(names=["rare", "rare", "frequent"]), "names"),
        (lambda c: c["buckets"].update(edges=[100, 10]), "edges"),
        (lambda c: c["buckets"].update(by="boxes"), "by|boxes"),
        (lambda c: task(c)["class_ap"].__setitem__(1, 100.1), "<= 100"),
        (lambda c: task(c)["class_ap"].__setitem__(1, -0.1), ">= 0"),
        (lambda c: task(c)["metrics"].update(APl=1e300), "<= 100"),
        (lambda c: task(c)["intervals"].update(AP=[30.0, 20.0]), "intervals.AP"),
        (lambda c: task(c)["resamples"]["values"]["AP"].pop(), "resamples.values"),
        (lambda c: task(c)["precision_recall"]["all"]["mean"].__setitem__(0, 1.5), "<= 1"),
        (lambda c: task(c)["errors"]["count"]["miss"].pop(), "errors.count.miss"),
        (lambda c: task(c)["errors"]["class_ap50"].pop(), "errors.class_ap50"),
        (lambda c: task(c)["calibration"]["edges"].reverse(), "calibration.edges"),
        (lambda c: task(c)["calibration"]["groups"].pop("rare"), "calibration.groups.rare"),
        (lambda c: task(c)["calibration"]["groups"]["all"]["score"].pop(), "calibration.groups.all"),
    ],
)
def test_damaged_files_are_refused_with_file_and_key(damage, key, tmp_path):
    content = evaluation(3)
    parse_evaluation(json.dumps(content))
    damage(content)
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(content))
    with pytest.raises(LtDetError, match=rf"evaluation\.json .*{key}"):
        read_evaluation(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff", "[" * 10_000, '{"note": ' + "[" * 100_000])
def test_other_files_are_refused(text, tmp_path):
    file = tmp_path / "evaluation.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(LtDetError, match=r"evaluation\.json is not an evaluation"):
        read_evaluation(file)


def test_optional_keys_may_be_missing():
    content = evaluation(3)
    for key in set(task(content)) - {"metrics", "bucket_sizes", "class_ap"}:
        del task(content)[key]
    for key in ("num_images", "ground_truth", "image_root", "results"):
        del content[key]
    for entry in content["classes"]:
        del entry["id"], entry["objects"]
    read = parse_evaluation(json.dumps(content))
    assert (read.num_images, read.fingerprint, read.classes[0].id, read.tasks["bbox"].errors) == (None,) * 4
