"""Tables for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from lt_det.evaluation.result import percent
from lt_det.reporting.escaping import in_markdown
from lt_det.statistics.buckets import FrequencyBuckets, metric_name
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import printable


@dataclass(frozen=True)
class TextTable:
    """A title, column headings and rows of text; the first column is left-aligned, the others are numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_rich(self) -> Table:
        """For the terminal; control characters of names are escaped, and nothing in them is markup."""
        table = Table(title=Text(printable(self.title), style="bold"), title_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(Text(printable(column)), justify="left" if index == 0 else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        return table

    def to_markdown(self) -> str:
        headings, *rows = [list(map(in_markdown, line)) for line in (self.columns, *self.rows)]
        align = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = ["| " + " | ".join(line) + " |" for line in (headings, align, *rows)]
        return f"**{in_markdown(self.title)}**\n\n" + "\n".join(lines) + "\n"


def class_count_tables(
    stats: ClassStats,
    buckets: FrequencyBuckets,
    images_with: Callable[[NDArray[np.int64]], int] | None = None,
    shown: int = 10,
) -> list[TextTable]:
    """A table of the buckets that have a class, and one of the most and the least frequent classes.

    Args:
        stats: class counts of the training set.
        buckets: of its classes.
        images_with: how many images have at least one of some classes; None: not known, and the column is left out.
        shown: most and least frequent classes to list.
    """
    counts = stats.counts(buckets.by)
    columns, rows = ["bucket", "classes", f"{buckets.by} per class"], []
    columns += [] if images_with is None else ["images"]
    columns += [] if stats.instance_counts is None else ["instances"]
    for name, members in buckets.filled():
        low, high = counts[members].min(), counts[members].max()
        row = [name, str(len(members)), str(low) if low == high else f"{low} - {high}"]
        row += [] if images_with is None else [str(images_with(members))]
        row += [] if stats.instance_counts is None else [str(stats.instance_counts[members].sum())]
        rows.append(row)
    of_buckets = TextTable(f"Buckets by training {buckets.by}", columns, rows)

    order = np.argsort(-counts, kind="stable")
    picked = order if len(order) <= 2 * shown else [*order[:shown], None, *order[-shown:]]
    rows = []
    for k in picked:
        if k is None:
            rows.append([f"... {len(order) - 2 * shown} more", "", "", ""])
            continue
        bucket = int(buckets.assignment[k])
        instances = "?" if stats.instance_counts is None else str(stats.instance_counts[k])
        name = buckets.names[bucket] if bucket >= 0 else "-"
        rows.append([stats.names[k], str(stats.image_counts[k]), instances, name])
    return [of_buckets, TextTable("Classes", ["class", "images", "instances", "bucket"], rows)]


def adjustment_table(
    method: str, data: str, buckets: Sequence[str], metrics: Mapping[float, Mapping[str, float]]
) -> TextTable:
    """Box AP, overall and of each bucket that has one: one row for each tau or gamma."""
    names = ["AP", *map(metric_name, buckets)]
    columns = [name for name in names if not all(np.isnan(of_value[name]) for of_value in metrics.values())]
    rows = [
        [f"{value:g}", *(percent(None if np.isnan(of_value[name]) else of_value[name]) for name in columns)]
        for value, of_value in metrics.items()
    ]
    return TextTable(f"{method} on {data}", ["value", *columns], rows)
