"""Table 2: all methods on mini_lvis."""

from __future__ import annotations

from benchmarks.evidence.plan import Plan
from benchmarks.evidence.summary import cell, chosen_value
from benchmarks.evidence.tables.cells import BUCKETS, NOT_RUN, differences, number, plan_named
from benchmarks.evidence.tables.markdown import header, line

_ITERATIONS = 3200
_BASELINE = "softmax"
_NOT_CHOSEN = "not chosen yet"


def methods() -> str:
    """Means over the seeds, with the chosen learning rate, in descending order of AP."""
    plan = plan_named("table2")
    lines = header("method", ["learning rate or strength", *BUCKETS, "seeds"])
    rows = [(row, cell(plan, row, _ITERATIONS)) for row in plan.rows]
    for row, one in sorted(rows, key=lambda pair: -(pair[1].mean("AP") or 0)):
        lines.append(line(row, [_setting(plan, row), *(number(one, name) for name in BUCKETS), str(len(one.metrics))]))
    return "\n".join(lines)


def _setting(plan: Plan, row: str) -> str:
    if "adjusts" in plan.rows[row]:
        return chosen_value(plan, row) or _NOT_CHOSEN
    factor, missing = plan.chosen_factor(row)
    return f"×1, {_NOT_CHOSEN}" if missing else f"×{factor:g}"


def method_differences() -> str:
    """Each method minus softmax."""
    plan = plan_named("table2")
    cells = {row: cell(plan, row, _ITERATIONS) for row in plan.rows}
    return differences(cells, cells.pop(_BASELINE), ("AP", "APr", "APf"))


def learning_rates() -> str:
    """AP on the held-out images with each factor of the config's learning rate that was tried."""
    plan = plan_named("table2")
    jobs = {row: plan.search_jobs(row) for row, spec in plan.rows.items() if "adjusts" not in spec}
    factors = sorted({job.factor for of_row in jobs.values() for job in of_row})
    lines = header("method", [*(f"×{factor:g}" for factor in factors), "chosen"])
    for row, of_row in jobs.items():
        found = {job.factor: job.result() for job in of_row}
        ap = {factor: f"{result['metrics']['AP']:.1f}" if result else NOT_RUN for factor, result in found.items()}
        factor, missing = plan.chosen_factor(row)
        lines.append(line(row, [*(ap.get(one, "") for one in factors), "" if missing else f"×{factor:g}"]))
    return "\n".join(lines)
