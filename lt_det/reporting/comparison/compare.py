"""Several runs compared with the first: what `lt-det compare` prints and writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lt_det.errors import LtDetError
from lt_det.evaluation.protocols import PROTOCOLS, Task
from lt_det.evaluation.result import percent
from lt_det.evaluation.schema import ALL, TASK_NAMES, ErrorAnalysis, Evaluation, group_metric, read_evaluations
from lt_det.io.atomic import write_atomically, writing_to
from lt_det.io.console import SafeConsole
from lt_det.reporting.charts.base import Panel, chart_style
from lt_det.reporting.charts.class_scatter import class_scatter
from lt_det.reporting.charts.differences import difference_chart
from lt_det.reporting.class_extremes import EXTREMES_COLUMNS, class_extremes
from lt_det.reporting.comparison.common import common_evaluations, same_buckets
from lt_det.reporting.comparison.differences import Difference, class_differences, metric_differences, unpaired_because
from lt_det.reporting.comparison.examples import EvaluatedRun, FoundByOne, found_by_one
from lt_det.reporting.comparison.names import run_names
from lt_det.reporting.escaping import markdown_heading, markdown_paragraph
from lt_det.reporting.html import render_page
from lt_det.reporting.tables import TextTable
from lt_det.reporting.view_model import ClassTable, bucket_advice, class_table, evaluation_facts
from lt_det.terminal import signed


@dataclass(frozen=True)
class Pair:
    """One run compared with the first, in one task of one set."""

    key: str
    run: str
    metrics: list[Difference]
    unpaired: str | None  # why there are no intervals
    classes: list[float | None]
    table: TextTable
    gained: TextTable
    lost: TextTable
    chart: Panel
    scatter: Panel | None
    headline: str  # the difference of the rarest bucket
    found: FoundByOne | None  # of the first task that is compared


@dataclass(frozen=True)
class Comparison:
    """The runs that can be compared in one task of one set."""

    key: str
    title: str
    dataset: str
    task: str
    facts: list[str]
    advice: str
    pairs: list[Pair]
    errors: TextTable | None
    class_names: list[str]
    classes: ClassTable


def write_comparison(
    output_dirs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] = "compare",
    console: Console | None = None,
    outside_images: bool = False,
) -> Path:
    """Compare runs with the first, print tables, and write ``compare.html``, ``compare.md`` and ``compare.json``.

    Runs are compared on the sets that both were evaluated on, under the same protocol; the rest is listed as left out.

    Args:
        output_dirs: OUTPUT_DIRs of two or more trainings or evaluations.
        out: folder to write.
        console: where tables are printed; None: standard output.
        outside_images: also embed example images that are not in the set's image folder.

    Returns:
        Path of ``compare.html``.

    Raises:
        LtDetError: a run has no evaluation, is given twice, or has no evaluation that can be compared with the first's.
    """
    roots, folder, console = [Path(root) for root in output_dirs], Path(out), console or SafeConsole()
    if len(roots) < 2:
        raise LtDetError("A comparison needs at least two runs; give the OUTPUT_DIR of another one.")
    for index, root in enumerate(roots):
        if root.resolve() in [other.resolve() for other in roots[:index]]:
            raise LtDetError(f"{root} is given twice; give each run only once.")
    first, *others = (read_evaluations(root) for root in roots)
    common = [common_evaluations(roots[0], first, root, other) for root, other in zip(roots[1:], others, strict=True)]
    left_out = list(dict.fromkeys(sentence for shared in common for sentence in shared.left_out))
    runs = run_names(roots)
    comparisons = []
    for name, evaluation in first.items():
        base = EvaluatedRun(runs[0], evaluation, roots[0] / "inference" / name)
        described: set[str] = set()  # runs whose objects have been compared
        for task in evaluation.tasks:
            having = [
                EvaluatedRun(run, other, _folder(root, evaluations, other))
                for run, root, evaluations, shared in zip(runs[1:], roots[1:], others, common, strict=True)
                if (other := shared.evaluations.get((name, task))) is not None
            ]
            if having:
                new = [run for run in having if run.name not in described]
                found = dict(zip([run.name for run in new], found_by_one(base, new, outside_images), strict=True))
                described |= set(found)
                comparisons.append(_compare(base, having, task, f"{name.replace('/', '_')}_{task}", found))
    for sentence in left_out:
        console.print(sentence, soft_wrap=True, markup=False, highlight=False)
    for comparison in comparisons:
        for table in _tables(comparison):
            console.print(table.to_rich())
        for sentence in {pair.unpaired for pair in comparison.pairs if pair.unpaired}:
            console.print(sentence, soft_wrap=True, markup=False)
    for advice in dict.fromkeys(comparison.advice for comparison in comparisons if comparison.advice):
        console.print(advice, soft_wrap=True, markup=False, highlight=False)
    for pair in (pair for comparison in comparisons for pair in comparison.pairs):
        console.print(pair.headline, soft_wrap=True, markup=False, highlight=False)
    with writing_to(folder, "The comparison", "another --out"):
        page = folder / "compare.html"
        write_atomically(page, render_page("compare.html", runs=runs, left_out=left_out, comparisons=comparisons))
        write_atomically(folder / "compare.md", _markdown(runs, left_out, comparisons))
        write_atomically(folder / "compare.json", json.dumps(_numbers(runs, left_out, comparisons), indent=1) + "\n")
    return page


def _folder(root: Path, evaluations: Mapping[str, Evaluation], evaluation: Evaluation) -> Path:
    """The folder of one of the evaluations of a run."""
    name = next(name for name, one in evaluations.items() if one is evaluation)
    return root / "inference" / name


def _compare(
    base: EvaluatedRun, others: list[EvaluatedRun], task: Task, key: str, found: Mapping[str, FoundByOne]
) -> Comparison:
    """`found`: by the name of a run, see `Pair`."""
    first, first_run = base.evaluation, base.name
    title = f"{first.dataset}: {TASK_NAMES[task].lower()}"
    pairs = [_pair(base, run, task, f"{key}_{index}", found.get(run.name)) for index, run in enumerate(others, start=1)]
    tasks = {run.name: run.evaluation.tasks[task] for run in (base, *others)}
    columns: dict[str, list[Any]] = {
        "class": [entry.name for entry in first.classes],
        "bucket": [entry.bucket for entry in first.classes],
        "training images": [entry.images for entry in first.classes],
    }
    columns |= {f"AP {run}": found.class_ap for run, found in tasks.items()}
    gains = {f"{pair.run} minus {first_run}": pair.classes for pair in pairs}
    return Comparison(
        key,
        title,
        first.dataset,
        task,
        evaluation_facts(first),
        bucket_advice(first),
        pairs,
        _error_table(list(tasks), [found.errors for found in tasks.values()], title),
        columns["class"],
        class_table(first, columns | gains, tuple(gains)),
    )


def _pair(base: EvaluatedRun, compared: EvaluatedRun, task: Task, key: str, found_objects: FoundByOne | None) -> Pair:
    first_run, first, run, other = base.name, base.evaluation, compared.name, compared.evaluation
    a, b = first.tasks[task], other.tasks[task]
    metrics, classes = metric_differences(a, b), class_differences(a, b)
    if not same_buckets(first, other):
        metrics = [found for found in metrics if found.metric not in _bucket_metrics(first, other)]
    shown = [found for found in metrics if found.metric not in first.hidden_metrics]
    rows = [
        [
            found.metric,
            percent(found.first),
            percent(found.other),
            signed(found.value),
            "" if found.interval is None else " to ".join(map(signed, found.interval)),
            found.significance,
        ]
        for found in shown
    ]
    title = f"{TASK_NAMES[task]}, {first.dataset}: {run} against {first_run}"
    gained, lost = class_extremes(first.classes, a.class_ap, classes)
    with chart_style():
        chart = difference_chart([found for found in shown if found.interval] or shown)
        scatter = class_scatter(first, classes, "difference of AP", symmetric=True)
    return Pair(
        key,
        run,
        metrics,
        unpaired_because(a, b, PROTOCOLS[first.protocol].pooled),
        classes,
        TextTable(title, ["", first_run, run, "difference", "95 %", "significant"], rows),
        TextTable(f"Largest gains: {run} against {first_run}", EXTREMES_COLUMNS, gained),
        TextTable(f"Largest losses: {run} against {first_run}", EXTREMES_COLUMNS, lost),
        chart,
        scatter,
        _headline(first_run, run, _of_the_rarest(first, shown)),
        found_objects,
    )


def _of_the_rarest(evaluation: Evaluation, differences: Sequence[Difference]) -> Difference:
    """The difference of the rarest bucket's AP; that of AP if no bucket has one."""
    known = {found.metric: found for found in differences if found.value is not None}
    names = map(group_metric, evaluation.shown_buckets)
    return next((known[name] for name in names if name in known), differences[0])


def _headline(first_run: str, run: str, found: Difference) -> str:
    interval = (
        "no interval" if found.interval is None else "95 % interval {} to {}".format(*map(signed, found.interval))
    )
    values = f"{first_run} {percent(found.first)}, {run} {percent(found.other)}"
    return f"{found.metric}: {values}, difference {signed(found.value)}, {interval}."


def _bucket_metrics(*evaluations: Evaluation) -> set[str]:
    names = {name for evaluation in evaluations for name in evaluation.buckets.names}
    return {group_metric(name, kind) for name in names for kind in ("AP", "AR")}


def _error_table(runs: list[str], errors: list[ErrorAnalysis | None], title: str) -> TextTable | None:
    """AP50 points lost over all classes, a column for each run; None unless every run has the same types of error."""
    known = [(found.types, loss) for found in errors if found and (loss := found.loss[ALL])]
    if len(known) < len(errors) or any(types != known[0][0] for types, _ in known):
        return None
    rows = [[kind, *(percent(loss[kind]) for _, loss in known)] for kind in known[0][0]]
    return TextTable(f"{title}, AP50 points lost to each type of error", ["", *runs], rows)


def _tables(comparison: Comparison) -> list[TextTable]:
    tables = []
    for pair in comparison.pairs:
        tables += [table for table in (pair.table, pair.gained, pair.lost) if table.rows]
        tables += [pair.found.table] if pair.found and pair.found.table else []
    return [*tables, comparison.errors] if comparison.errors else tables


def _markdown(runs: list[str], left_out: list[str], comparisons: list[Comparison]) -> str:
    parts = [markdown_heading(1, f"{', '.join(runs[1:])} against {runs[0]}"), *map(markdown_paragraph, left_out)]
    for comparison in comparisons:
        parts += [markdown_heading(2, comparison.title), markdown_paragraph(", ".join(comparison.facts))]
        parts += [markdown_paragraph(comparison.advice)] if comparison.advice else []
        parts += [table.to_markdown() for table in _tables(comparison)]
        parts += sorted({pair.unpaired for pair in comparison.pairs if pair.unpaired})
    return "\n\n".join(parts) + "\n"


def _numbers(runs: list[str], left_out: list[str], comparisons: list[Comparison]) -> dict[str, Any]:
    """Unrounded."""
    return {
        "runs": runs,
        "left_out": left_out,
        "comparisons": [
            {
                "dataset": comparison.dataset,
                "task": comparison.task,
                "classes": comparison.class_names,
                "pairs": [
                    {
                        "run": pair.run,
                        "against": runs[0],
                        "unpaired": pair.unpaired,
                        "metrics": {
                            found.metric: {
                                "first": found.first,
                                "other": found.other,
                                "difference": found.value,
                                "interval": found.interval,
                                "excludes_zero": found.excludes_zero,
                                "reading": found.reading,
                            }
                            for found in pair.metrics
                        },
                        "class_differences": pair.classes,
                        "objects_found": {name: asdict(found) for name, found in pair.found.counts.items()}
                        if pair.found
                        else {},
                    }
                    for pair in comparison.pairs
                ],
            }
            for comparison in comparisons
        ],
    }
