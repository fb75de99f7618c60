"""Real photographs: the tables of what benchmarks/evidence/photographs.py keeps."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.evidence.photographs import BUCKETS, KIND, MEAN, mean_or_none
from benchmarks.evidence.rank_correlation import spearman
from benchmarks.evidence.rows import read_rows
from benchmarks.evidence.summary import paired_interval
from benchmarks.evidence.tables.cells import interval_text
from benchmarks.evidence.tables.markdown import header, line
from lt_det.terminal import decimals, signed, signed_interval

_DETECTOR = "softmax"  # whose classifier the bake-offs train


def curve() -> str:
    """Markdown: AP and APr on the validation images by iteration, for each training."""
    rows = _trainings()
    points = list(rows[f"{_DETECTOR}_seed0"]["curve"])
    lines = header("training", points)
    for name, row in rows.items():
        for metric in BUCKETS[:2]:
            numbers = [decimals(row["curve"][point][metric]) for point in points]
            lines.append(line(f"{_title(name)}: {metric}", numbers))
    return "\n".join(lines)


def candidates() -> str:
    """Markdown: each candidate on both sets, in the order of the validation images; means over the detectors."""
    bakeoffs = [row["candidates"] for name, row in _rows().items() if name.startswith("bakeoff_")]
    means = {name: _over_detectors([one[name] for one in bakeoffs]) for name in bakeoffs[0]}
    seeds = range(len(bakeoffs))
    lines = header(
        "classifier",
        [
            "val: mean over buckets",
            *(f"test: {name}" for name in BUCKETS),
            *(f"test {name} minus retrained, detector {seed}" for name in BUCKETS[:2] for seed in seeds),
        ],
    )
    for name, one in sorted(means.items(), key=lambda item: -item[1]["val"][MEAN]):
        numbers = [decimals(one["val"][MEAN]), *(decimals(one["test"][metric]) for metric in BUCKETS)]
        deltas = [
            "" if of[name]["kind"] == "retrained" else _delta(of[name]["test_minus_retrained"][metric])
            for metric in BUCKETS[:2]
            for of in bakeoffs
        ]
        lines.append(line(name, [*numbers, *deltas]))
    return "\n".join([*lines, "", _rank_correlations(bakeoffs, means)])


def _rank_correlations(bakeoffs: list[dict[str, Any]], means: dict[str, Any]) -> str:
    val, test = ([one[part][MEAN] for one in means.values()] for part in ("val", "test"))
    trained = [one for one in means.values() if one["folds"] is not None]
    folds = spearman([one["folds"] for one in trained], [one["test"][MEAN] for one in trained])
    detectors = [[of[name]["test"][MEAN] for name in means] for of in bakeoffs[:2]]
    return (
        f"Rank correlation (Spearman) of the mean over the buckets: {decimals(spearman(val, test), 2)} between val and "
        f"test, and {decimals(spearman(*detectors), 2)} between the two detectors on test, over all {len(means)} rows; "
        f"{decimals(folds, 2)} between the held-out training images and test, over the {len(trained)} trained ones."
    )


def end_to_end() -> str:
    """Markdown: whole trainings on the test images, each against the softmax training of its seed."""
    lines = header(
        "training",
        ["val: AP", *(f"test: {name}" for name in BUCKETS), *(f"test {name} minus softmax" for name in BUCKETS[:2])],
    )
    for name, row in _trainings().items():
        if "test" not in row:
            continue
        numbers = [decimals(list(row["curve"].values())[-1]["AP"]), *(decimals(row["test"][one]) for one in BUCKETS)]
        baseline = f"{_DETECTOR}_{name.rpartition('_')[2]}"
        deltas = ["" if name == baseline else _difference(name, baseline, metric) for metric in BUCKETS[:2]]
        lines.append(line(_title(name), [*numbers, *deltas]))
    return "\n".join(lines)


def _difference(name: str, baseline: str, metric: str) -> str:
    rows = _rows()
    value = rows[name]["test"][metric] - rows[baseline]["test"][metric]
    ends = paired_interval([(f"{KIND}/{name}", f"{KIND}/{baseline}")], metric, value)
    return f"{signed(value)} {interval_text(ends)}"


def _rows() -> dict[str, dict[str, Any]]:
    return read_rows(KIND)


def _trainings() -> dict[str, dict[str, Any]]:
    """Softmax first."""
    found = {name: row for name, row in _rows().items() if "curve" in row}
    return dict(sorted(found.items(), key=lambda item: (not item[0].startswith(f"{_DETECTOR}_"), item[0])))


def _title(name: str) -> str:
    loss, _, seed = name.rpartition("_seed")
    return f"{loss.replace('-', ' with ')}, seed {seed}"


def _over_detectors(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the detectors of one candidate's metrics."""
    return {
        **{
            part: {name: statistics.fmean(entry[part][name] for entry in entries) for name in (*BUCKETS, MEAN)}
            for part in ("val", "test")
        },
        "folds": mean_or_none([entry["folds"] for entry in entries if entry["folds"] is not None]),
    }


def _delta(delta: dict[str, Any]) -> str:
    return f"{signed(delta['value'])} {signed_interval(delta['interval'])}"
