"""Comparisons of runs: paired intervals against a slow loop, refusals, and the files."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from lt_det.cli import main
from lt_det.errors import LtDetError
from lt_det.reporting import write_comparison
from lt_det.reporting.comparison.differences import metric_differences, unpaired_because
from tests.helpers.evaluations import AWKWARD, evaluation, typed_task, write_run

QUIET = Console(quiet=True)


def box(content):
    return content["tasks"]["bbox"]


def test_paired_interval_is_that_of_the_individual_differences():
    a, b = box(evaluation()), box(evaluation(seed=1, better=2.0))
    a["resamples"]["values"]["APr"][:30] = [None] * 30
    found = {difference.metric: difference for difference in metric_differences(typed_task(a), typed_task(b))}
    pairs = zip(a["resamples"]["values"]["APr"], b["resamples"]["values"]["APr"], strict=True)
    single = sorted(y - x for x, y in pairs if x is not None)
    measured = b["metrics"]["APr"] - a["metrics"]["APr"]
    moved = np.percentile(single, [2.5, 97.5]) - np.mean(single) + measured
    np.testing.assert_allclose(found["APr"].interval, moved, rtol=1e-12)
    # Pairing pays: the runs' own intervals are far wider.
    assert np.diff(found["APr"].interval) < 0.2 * np.diff(a["intervals"]["APr"])
    assert found["APs"].interval is None


@pytest.mark.parametrize(
    ("shift", "reading", "significance", "excludes_zero"),
    [
        (1.0, "higher: the interval excludes 0", "higher", True),
        (-1.0, "lower: the interval excludes 0", "lower", True),
        (0.0, "not significant", "no", False),
    ],
)
def test_reading(shift, reading, significance, excludes_zero):
    a, b = box(evaluation()), box(evaluation())
    noise = np.random.default_rng(3).normal(shift, 0.2, 1000)
    b["resamples"]["values"]["AP"] = (np.array(a["resamples"]["values"]["AP"]) + noise).tolist()
    b["metrics"]["AP"] += shift
    difference = metric_differences(typed_task(a), typed_task(b))[0]
    assert difference.reading.startswith(reading)
    assert difference.significance == significance
    assert difference.excludes_zero is excludes_zero


def test_a_metric_that_few_resamples_have_gets_no_interval():
    a, b = box(evaluation()), box(evaluation(seed=1))
    a["resamples"]["values"]["APr"][50:] = [None] * 950
    found = {difference.metric: difference for difference in metric_differences(typed_task(a), typed_task(b))}
    assert found["APr"].interval is None
    assert found["APr"].reading == "no interval"
    assert found["APr"].excludes_zero is None
    assert found["AP"].interval is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda task: task.update(resamples=None), "without resamples"),
        (lambda task: task["resamples"].update(images="other"), "different images or ground truth"),
        (lambda task: task["resamples"].update(seed=1), "different seeds"),
        (lambda task: [values.pop() for values in task["resamples"]["values"].values()], "numbers of draws"),
    ],
)
def test_unpaired(run, tmp_path, change, why):
    content = evaluation(seed=1)
    change(box(content))
    assert why in unpaired_because(typed_task(box(evaluation())), typed_task(box(content)))
    text = io.StringIO()
    page = write_comparison([run, write_run(tmp_path / "b", content)], tmp_path / "out", Console(file=text, width=120))
    assert why in text.getvalue()
    assert why in page.read_text()
    assert why in (tmp_path / "out" / "compare.md").read_text()
    numbers = json.loads((tmp_path / "out" / "compare.json").read_text())["comparisons"][0]["pairs"][0]
    assert numbers["metrics"]["AP"]["interval"] is None
    assert numbers["metrics"]["AP"]["excludes_zero"] is None
    assert numbers["metrics"]["AP"]["difference"] is not None


@pytest.mark.parametrize("protocol", ["lvis", "pool"])
def test_ap_pool_is_mentioned_only_for_runs_evaluated_by_it(tmp_path, protocol):
    runs = []
    for name in ("a", "b"):
        content = {**evaluation(), "protocol": protocol}
        box(content)["resamples"] = None
        runs.append(write_run(tmp_path / name, content))
    text = io.StringIO()
    write_comparison(runs, tmp_path / "out", Console(file=text, width=500))
    why = next(line for line in text.getvalue().splitlines() if "No intervals" in line)
    assert ("AP-Pool" in why) == (protocol == "pool")
    assert ("--protocol fixed" in why) == (protocol == "pool")
    assert ("TEST.RESAMPLES" in why) == (protocol != "pool")


def test_files_and_tables(run, other_run, tmp_path):
    third = write_run(tmp_path / "third", evaluation(seed=2, better=-3.0))
    text = io.StringIO()
    page = write_comparison([run, other_run, third], tmp_path / "out", Console(file=text, width=80))
    first, second = evaluation(), evaluation(seed=1, better=2.0)
    pairs = json.loads((tmp_path / "out" / "compare.json").read_text())["comparisons"][0]["pairs"]
    assert [(pair["run"], pair["against"]) for pair in pairs] == [("seesaw", "softmax"), ("third", "softmax")]
    difference = box(second)["metrics"]["AP"] - box(first)["metrics"]["AP"]
    assert pairs[0]["metrics"]["AP"]["difference"] == difference
    low, high = pairs[0]["metrics"]["AP"]["interval"]
    assert 0 < low < difference < high
    assert pairs[0]["metrics"]["AP"]["excludes_zero"] is True
    row = f"| AP | {box(first)['metrics']['AP']:.1f} | {box(second)['metrics']['AP']:.1f} | {difference:+.1f} |"
    assert row in (tmp_path / "out" / "compare.md").read_text()
    gains = np.subtract(box(second)["class_ap"], box(first)["class_ap"])
    most = first["classes"][int(gains.argmax())]["name"]
    assert f"{gains.max():+.1f}" in text.getvalue()
    assert most in text.getvalue()
    of_ap = [line for line in text.getvalue().splitlines() if line.startswith("│ AP ")]
    assert ["higher" in line for line in of_ap] == [True, False]  # on one line of 80 columns
    assert "lower" in of_ap[1]
    content = page.read_text()
    assert content.count("<script>") == 1
    assert "seesaw minus softmax" in content
    assert AWKWARD not in content


def renamed(content):
    content["classes"][3]["name"] = "other"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(protocol="coco"), "by the lvis protocol and .* by coco"),
        (lambda content: content.update(max_dets=100), "by other rules"),
        (lambda content: content.update(num_images=399), "different images"),
        (renamed, "have different classes"),
        (lambda content: content.update(tasks={"segm": content["tasks"]["bbox"]}), "boxes: only .* masks: only"),
    ],
)
def test_evaluations_that_cannot_be_compared(run, tmp_path, change, message):
    """A run with nothing else is refused; what else it has in common with the first is compared."""
    content = evaluation(seed=1)
    change(content)
    other = write_run(tmp_path / "b", content)
    with pytest.raises(LtDetError, match=f"synthetic_val.*{message}"):
        write_comparison([run, other], tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()

    for root in (run, other):
        write_run(root, evaluation() | {"dataset": "another_val"}, dataset="another_val")
    _, compared = compare([run, other], tmp_path)
    assert list(compared) == [("another_val", "bbox")]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["classes"][3].update(bucket="frequent"),
        lambda content: content["buckets"].update(edges=[5, 50]),
    ],
)
def test_other_buckets_are_compared_over_all_classes(run, tmp_path, change):
    content = evaluation(seed=1)
    change(content)
    ((left_out,), compared) = compare([run, write_run(tmp_path / "b", content)], tmp_path)
    assert "metrics of buckets" in left_out
    assert "TEST.BUCKETS" in left_out
    ((pair,),) = compared.values()
    metrics = box(content)["metrics"]
    assert set(pair["metrics"]) == {name for name in metrics if name[-1] not in "rcf"}
    assert pair["metrics"]["AP"]["interval"]
    assert len(pair["class_differences"]) == 62


def test_sets_and_tasks_that_not_every_run_has(tmp_path):
    """Runs on {a, b with masks}, {a} and {a, b, c}: each is compared with the first where both were evaluated."""
    first = write_run(tmp_path / "first", evaluation(tasks=("bbox", "segm")) | {"dataset": "b"}, dataset="b")
    second, third = tmp_path / "second", tmp_path / "third"
    for root, names in ((first, "a"), (second, "a"), (third, "abc")):
        for name in names:
            write_run(root, evaluation() | {"dataset": name}, dataset=name)
    left_out, compared = compare([first, second, third], tmp_path)
    assert {key: [pair["run"] for pair in pairs] for key, pairs in compared.items()} == {
        ("a", "bbox"): ["second", "third"],
        ("b", "bbox"): ["third"],
    }
    assert [sentence.rpartition(": ")[0] for sentence in left_out] == [
        "Left out: b",
        "Left out: b, masks",
        "Left out: c",
    ]
    assert f"only {third} was evaluated on it" in left_out[2]


def compare(roots, tmp_path):
    """What a comparison left out, and its pairs by set and task; the page and the terminal name what is left out."""
    text = io.StringIO()
    page = write_comparison(roots, tmp_path / "out", Console(file=text, width=400))
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    for sentence in content["left_out"]:
        assert sentence in text.getvalue()
        assert sentence in page.read_text()
    return content["left_out"], {(part["dataset"], part["task"]): part["pairs"] for part in content["comparisons"]}


def test_another_set(run, tmp_path):
    other = write_run(tmp_path / "b", evaluation(), dataset="another_val")
    with pytest.raises(LtDetError, match=r"synthetic_val: only .*softmax .*another_val: only .*b was"):
        write_comparison([run, other], tmp_path / "out", QUIET)


def test_augmented_evaluations(tmp_path):
    """An augmented evaluation is compared with another one, or with the plain one of the same run."""
    roots = [write_run(tmp_path / name / folder, evaluation()) for name in "ab" for folder in ("", "inference_TTA")]
    for pair, run in ((roots[1::2], "b/inference_TTA"), (roots[:2], "inference_TTA")):
        _, compared = compare(pair, tmp_path)
        assert [pair["run"] for ((pair,),) in [compared.values()]] == [run]


def test_another_name_of_the_same_images(tmp_path):
    """`lt-det evaluate` calls a set by its json, a training by the name under which it is registered."""
    content = {**evaluation(), "fingerprint": "of these images"}
    runs = [write_run(tmp_path / "a", content), write_run(tmp_path / "b", content, dataset="another_val")]
    write_comparison(runs, tmp_path / "out", QUIET)
    assert (tmp_path / "out" / "compare.html").is_file()
    runs[1] = write_run(tmp_path / "c", {**content, "fingerprint": "of others"}, dataset="another_val")
    with pytest.raises(LtDetError, match=r"synthetic_val: only .* another_val: only"):
        write_comparison(runs, tmp_path / "out", QUIET)


def test_mistakes_on_the_command_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for runs, message in (
        ([run], "needs at least two"),
        ([run, tmp_path / "x" / ".." / "softmax"], "is given twice"),
        ([run, tmp_path / "nowhere"], "nowhere has no inference"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert main(["compare", *map(str, runs)]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_command(run, other_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", str(run), str(other_run)]) == 0
    assert {path.name for path in (tmp_path / "compare").iterdir()} == {"compare.html", "compare.md", "compare.json"}


def test_folder_that_cannot_be_written(run, other_run, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(LtDetError, match=r"cannot be written to .*out \(File exists\)"):
        write_comparison([run, other_run], tmp_path / "out", QUIET)
