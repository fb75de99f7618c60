"""Table 4, where EQL, CDT and focal help, and the balanced sets."""

from __future__ import annotations

from benchmarks.evidence.summary import cell, difference
from benchmarks.evidence.tables.cells import BUCKETS, NOT_RUN, interval_text, number, places, plan_named
from benchmarks.evidence.tables.markdown import header, line
from lt_det.terminal import signed


def conditions() -> str:
    """Each row of the plan, minus the baseline that the plan names for it."""
    plan = plan_named("table4")
    lines = header(
        "row", ["dataset", "iterations", *BUCKETS, "AP minus", "interval over seeds", "interval over images", "seeds"]
    )
    for dataset, length, row in places(plan):
        one = cell(plan, row, length, dataset, 1)
        baseline = plan.rows[row].get("baseline")
        minus = difference(one, cell(plan, baseline, length, dataset, 1), "AP") if baseline else None
        texts = [f"{baseline}: {NOT_RUN}" if baseline else "", "", ""]
        if minus is not None:
            ends = (interval_text(minus.over_seeds), interval_text(minus.over_images))
            texts = [f"{baseline}: {signed(minus.value)}", *ends]
        numbers = [number(one, name) for name in BUCKETS]
        lines.append(line(row, [dataset, str(length), *numbers, *texts, str(len(one.metrics))]))
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
