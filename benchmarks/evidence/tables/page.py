"""The page, in which a table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.evidence import fit, negatives
from benchmarks.evidence.tables import conditions, imbalance, machines, methods, photographs, schedule

PAGE = Path("docs/evidence.md")
TABLES: dict[str, Callable[[], str]] = {
    "schedule": schedule.lengths,
    "schedule differences": schedule.differences_by_length,
    "methods": methods.methods,
    "method differences": methods.method_differences,
    "learning rates": methods.learning_rates,
    "imbalance": imbalance.imbalance,
    "imbalance differences": imbalance.imbalance_differences,
    "imbalance order": imbalance.imbalance_order,
    "hinge": conditions.hinge,
    "hinge differences": conditions.hinge_differences,
    "fit": fit.table,
    "conditions": conditions.conditions,
    "condition differences": conditions.condition_differences,
    "negatives": negatives.table,
    "balanced": conditions.balanced,
    "photographs by iteration": photographs.curve,
    "photographs": photographs.candidates,
    "photographs end to end": photographs.end_to_end,
    "machines": machines.machines,
}


def with_tables(page: str) -> str:
    """The page with its tables made again.

    Raises:
        ValueError: the page has no place for a table.
    """
    for name, make in TABLES.items():
        before, start, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not end:
            raise ValueError(f"{PAGE} has no place for the table '{name}'.")
        page = f"{before}{start}\n{make()}\n\n{end}{after}"
    return page
