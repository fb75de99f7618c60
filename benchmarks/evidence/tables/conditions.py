"""Table 4, where EQL, CDT and focal help, the hinge form of LDAM, and the balanced sets."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.evidence.summary import cell, difference
from benchmarks.evidence.tables.cells import (
    BUCKETS,
    NOT_RUN,
    difference_texts,
    difference_titles,
    number,
    places,
    plan_named,
)
from benchmarks.evidence.tables.markdown import header, line

_THIRD = ("AP", "AP rarest third")


def conditions() -> str:
    """Table 4: the rows of the plan that have been run, and a list of the others."""
    return _rows("table4", BUCKETS)


def condition_differences() -> str:
    """Each row of table 4 minus the baseline that the plan names for it."""
    return _minus_baselines("table4", ("AP", "APr", "APc"))


def hinge() -> str:
    """Trainings that look for the reason why the hinge form of LDAM loses in table 3."""
    return _rows("hinge", _THIRD)


def hinge_differences() -> str:
    """Each of them minus the softmax form."""
    return _minus_baselines("hinge", _THIRD)


def _rows(plan_name: str, metrics: Sequence[str]) -> str:
    plan = plan_named(plan_name)
    lines = header("row", ["dataset", "iterations", *metrics, "seeds"])
    missing: dict[str, list[str]] = {}
    for dataset, length, row in places(plan):
        one = cell(plan, row, length, dataset, 1)
        if one.metrics:
            numbers = [number(one, metric) for metric in metrics]
            lines.append(line(row, [dataset, str(length), *numbers, str(len(one.metrics))]))
        else:
            missing.setdefault(f"{dataset}, {length} iterations", []).append(row)
    places_missing = [f"{', '.join(rows)} ({place})" for place, rows in missing.items()]
    return "\n".join([*lines, "", f"Not run: {'; '.join(places_missing)}."] if missing else lines)


def _minus_baselines(plan_name: str, metrics: Sequence[str]) -> str:
    plan = plan_named(plan_name)
    lines = header("row", ["minus", "dataset", "iterations", *difference_titles(metrics), "seeds"])
    for dataset, length, row in places(plan):
        if baseline := plan.rows[row].get("baseline"):
            one, base = (cell(plan, name, length, dataset, 1) for name in (row, baseline))
            values = [difference(one, base, metric) for metric in metrics]
            if values[0]:
                texts = [text for value in values for text in difference_texts(value)]
                lines.append(line(row, [baseline, dataset, str(length), *texts, str(values[0].seeds)]))
    return "\n".join(lines)


def balanced() -> str:
    """Detectron2's own heads on balanced sets."""
    plan = plan_named("balanced")
    lines = header("dataset", ["classes", "iterations", "AP", "AP50", "lowest AP of a class", "seeds"])
    for dataset, length, row in places(plan):
        one = cell(plan, row, length, dataset, 1)
        lowest = [min(ap for ap in (job.result() or {})["class_ap"] if ap is not None) for job in one.jobs.values()]
        numbers = [number(one, "AP"), number(one, "AP50"), f"{min(lowest):.1f}" if lowest else NOT_RUN]
        classes = str(plan.datasets[dataset]["num_classes"])
        lines.append(line(dataset, [classes, str(length), *numbers, str(len(one.metrics))]))
    return "\n".join(lines)
