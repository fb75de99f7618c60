"""What the tables have in common: the text of a cell, and the table of differences from a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.evidence.plan import DEFAULT_DATASET, Plan, read_plan
from benchmarks.evidence.summary import Cell, Difference, difference
from benchmarks.evidence.tables.markdown import header, line
from lt_det.terminal import signed, signed_interval

PLANS = Path(__file__).parents[1] / "plans"
BUCKETS = ("AP", "APr", "APc", "APf")
NOT_RUN = "not run"


def plan_named(name: str) -> Plan:
    return read_plan(PLANS / f"{name}.yaml")


def places(plan: Plan) -> list[tuple[str, int, str]]:
    """Dataset, iterations and row of each result, in the order of the plan."""
    found = [
        (block.get("dataset", DEFAULT_DATASET), length, row)
        for block in plan.blocks
        for length in block["iterations"]
        for row in block["rows"]
    ]
    return list(dict.fromkeys(found))


def number(one: Cell, metric: str, count: bool = False) -> str:
    """Mean ± standard deviation, and with `count` the number of seeds."""
    mean, spread = one.mean(metric), one.spread(metric)
    if mean is None:
        return "n/a" if one.metrics else NOT_RUN
    text = f"{mean:.1f}" + ("" if spread is None else f" ± {spread:.1f}")
    return f"{text} ({len(one.values(metric))})" if count else text


def interval_text(ends: tuple[float, float] | None) -> str:
    return "none" if ends is None else signed_interval(ends)


def difference_titles(metrics: Sequence[str]) -> list[str]:
    """Above the texts of `difference_texts`, for each metric."""
    return [f"{name}{part}" for name in metrics for part in ("", ", interval over seeds", ", interval over images")]


def difference_texts(value: Difference | None) -> list[str]:
    """The value and its two intervals."""
    if value is None:
        return [NOT_RUN, "", ""]
    return [signed(value.value), interval_text(value.over_seeds), interval_text(value.over_images)]


def differences(cells: dict[str, Cell], baseline: Cell, metrics: Sequence[str]) -> str:
    """Markdown: rows minus a baseline, with both intervals, in descending order of the first metric."""
    lines = header("row", [*difference_titles(metrics), "seeds"])
    found = {row: [difference(one, baseline, name) for name in metrics] for row, one in cells.items()}
    run = {row: values for row, values in found.items() if any(values)}
    for row, values in sorted(run.items(), key=lambda item: -(item[1][0].value if item[1][0] else -1000)):
        texts = [text for value in values for text in difference_texts(value)]
        lines.append(line(row, [*texts, str(values[0].seeds if values[0] else 0)]))
    missing = f"Not run: {', '.join(row for row in found if row not in run)}."
    if not run:
        return missing
    return "\n".join([*lines, "", missing] if len(run) < len(found) else lines)
