"""Table 3: the experiment of the CB and LDAM papers."""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.plan import Plan
from benchmarks.evidence.rank_correlation import spearman
from benchmarks.evidence.rows import read_row
from benchmarks.evidence.summary import Cell, cell
from benchmarks.evidence.tables.cells import NOT_RUN, differences, number, plan_named
from benchmarks.evidence.tables.markdown import header, line
from lt_det.terminal import decimals

_ITERATIONS = 1600
_BASELINE = "erm"
_METRICS = ("AP", "AP rarest third")
_MIN_RANKED = 5  # rows, for a rank correlation


def imbalance() -> str:
    """The rows of the LDAM paper's table on each dataset, and what has not been run."""
    plan = plan_named("table3")
    cells = {dataset: _cells(plan, dataset) for dataset in plan.datasets}
    missing = [
        _title(dataset) for dataset, of_rows in cells.items() if not any(one.metrics for one in of_rows.values())
    ]
    run = {dataset: of_rows for dataset, of_rows in cells.items() if _title(dataset) not in missing}
    lines = header("row", [f"{_title(dataset)}: {name}" for dataset in run for name in _METRICS])
    for row in plan.rows:
        of_row = [one[row] for one in run.values()]
        if any(one.metrics for one in of_row):
            lines.append(line(row, [number(one, name, count=name == "AP") for one in of_row for name in _METRICS]))
        else:
            missing.append(row)
    return "\n".join([*lines, "", f"Not run: {', '.join(missing)}."] if missing else lines)


def imbalance_differences() -> str:
    """Each row minus ERM, where there are results."""
    plan = plan_named("table3")
    parts = []
    for dataset in plan.datasets:
        cells = {row: one for row, one in _cells(plan, dataset).items() if one.metrics}
        if _BASELINE in cells:
            minus = differences(cells, cells.pop(_BASELINE), _METRICS)
            parts.append(f"{_title(dataset)}, minus {_BASELINE}:\n\n{minus}")
    return "\n\n".join(parts)


def imbalance_order() -> str:
    """The rank correlation of AP with the accuracy that the LDAM paper reports."""
    plan = plan_named("table3")
    published = (read_row("published", "ldam_table2") or {})["error"]
    lines = header("dataset", [part for name in published for part in (f"Spearman correlation with {name}", "rows")])
    for dataset in plan.datasets:
        ap = {row: one.mean("AP") for row, one in _cells(plan, dataset).items() if one.metrics}
        if not ap:
            continue
        texts = []
        for of_dataset in published.values():
            errors = of_dataset[dataset]
            pairs = [(value, -errors[row]) for row, value in ap.items() if value is not None and row in errors]
            enough = len(pairs) >= _MIN_RANKED
            texts += [decimals(spearman(*np.array(pairs).T), 2) if enough else NOT_RUN, str(len(pairs))]
        lines.append(line(_title(dataset), texts))
    return "\n".join(lines)


def _cells(plan: Plan, dataset: str) -> dict[str, Cell]:
    return {row: cell(plan, row, _ITERATIONS, dataset, 1) for row in plan.rows}


def _title(dataset: str) -> str:
    return dataset.replace("_", " ")
