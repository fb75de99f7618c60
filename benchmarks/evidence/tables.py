"""Make the tables and the figure of docs/evidence.md from results/.

Run in the root of the repository, after results have come::

    python -m benchmarks.evidence.tables            # writes docs/evidence.md and its figure
    python -m benchmarks.evidence.tables --print    # the tables alone

A table stands in the page between ``<!-- NAME -->`` and ``<!-- /NAME -->``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.evidence import fit, photographs
from benchmarks.evidence.figure import IMAGE, LENGTHS, draw_schedule, has_schedule, schedule_cells
from benchmarks.evidence.markdown import header, line
from benchmarks.evidence.plan import DEFAULT_DATASET, Plan, read_plan
from benchmarks.evidence.rank_correlation import spearman
from benchmarks.evidence.rows import read_row, read_training_rows
from benchmarks.evidence.summary import Cell, cell, chosen_value, difference
from lt_det.terminal import decimals, signed, signed_interval

PAGE = Path("docs/evidence.md")
PLANS = Path(__file__).parent / "plans"
NOT_RUN = "not run"
_FINAL, _IMBALANCE = 3200, 1600  # iterations of table 2 and of table 3
_BASELINE = "softmax"
_MIN_RANKED = 5  # rows, for a rank correlation
_THIRDS = ("AP", "AP rarest third")
_BUCKETS = ("AP", "APr", "APc", "APf")


def plan_named(name: str) -> Plan:
    return read_plan(PLANS / f"{name}.yaml")


def schedule() -> str:
    """AP and APr by schedule length, with the config's learning rate."""
    plan = plan_named("table2")
    lines = header("loss", [f"{name}, {length}" for name in ("AP", "APr") for length in LENGTHS])
    for row, of_row in schedule_cells(plan).items():
        lines.append(line(row, [_number(one, name, count=True) for name in ("AP", "APr") for one in of_row.values()]))
    if has_schedule(plan):
        lines += ["", f"![AP and APr by schedule length]({IMAGE.relative_to(PAGE.parent)})"]
    return "\n".join(lines)


def schedule_differences() -> str:
    """Each loss minus softmax with as many iterations, and the interval over images."""
    cells = schedule_cells(plan_named("table2"))
    lines = header("loss", [f"{name}, {length}" for name in ("AP", "APr") for length in LENGTHS])
    for row, of_row in cells.items():
        if row == _BASELINE:
            continue
        texts = []
        for name in ("AP", "APr"):
            found = [difference(one, cells[_BASELINE][length], name) for length, one in of_row.items()]
            texts += [NOT_RUN if one is None else f"{signed(one.value)} {_interval(one.over_images)}" for one in found]
        lines.append(line(row, texts))
    return "\n".join(lines)


def methods() -> str:
    """All methods of table 2 at the final length, with the chosen learning rate."""
    plan = plan_named("table2")
    lines = header("method", ["learning rate or strength", *_BUCKETS, "seeds"])
    rows = [(row, cell(plan, row, _FINAL)) for row in plan.rows]
    for row, one in sorted(rows, key=lambda pair: -(pair[1].mean("AP") or 0)):
        numbers = [_number(one, name) for name in _BUCKETS]
        lines.append(line(row, [_setting(plan, row), *numbers, str(len(one.metrics))]))
    return "\n".join(lines)


def _setting(plan: Plan, row: str) -> str:
    if "adjusts" in plan.rows[row]:
        return chosen_value(plan, row) or "not chosen yet"
    factor, missing = plan.chosen_factor(row)
    return "×1, not chosen yet" if missing else f"×{factor:g}"


def method_differences() -> str:
    """Each method of table 2 minus softmax."""
    plan = plan_named("table2")
    return differences(
        {row: cell(plan, row, _FINAL) for row in plan.rows if row != _BASELINE},
        cell(plan, _BASELINE, _FINAL),
        ("AP", "APr", "APf"),
    )


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


def imbalance() -> str:
    """Table 3: the rows of the LDAM paper's table on each dataset."""
    plan = plan_named("table3")
    lines = header("row", [f"{dataset.replace('_', ' ')}: {name}" for dataset in plan.datasets for name in _THIRDS])
    for row in plan.rows:
        cells = [cell(plan, row, _IMBALANCE, dataset, 1) for dataset in plan.datasets]
        lines.append(
            line(row, [_number(one, metric, count=not i) for one in cells for i, metric in enumerate(_THIRDS)])
        )
    return "\n".join(lines)


def imbalance_differences() -> str:
    """Table 3: each row minus ERM."""
    plan = plan_named("table3")
    parts = []
    for dataset in plan.datasets:
        cells = {row: cell(plan, row, _IMBALANCE, dataset, 1) for row in plan.rows}
        parts.append(f"{dataset.replace('_', ' ')}, minus erm:\n\n" + differences(cells, cells.pop("erm"), _THIRDS))
    return "\n\n".join(parts)


def imbalance_order() -> str:
    """Table 3: the rank correlation of AP with the accuracy that the LDAM paper reports."""
    plan = plan_named("table3")
    published = (read_row("published", "ldam_table2") or {})["error"]
    lines = header("dataset", [part for name in published for part in (f"Spearman correlation with {name}", "rows")])
    for dataset in plan.datasets:
        ap = {row: cell(plan, row, _IMBALANCE, dataset, 1).mean("AP") for row in plan.rows}
        texts = []
        for of_dataset in published.values():
            errors = of_dataset[dataset]
            pairs = [(value, -errors[row]) for row, value in ap.items() if value is not None and row in errors]
            enough = len(pairs) >= _MIN_RANKED
            texts += [decimals(spearman(*np.array(pairs).T), 2) if enough else NOT_RUN, str(len(pairs))]
        lines.append(line(dataset.replace("_", " "), texts))
    return "\n".join(lines)


def balanced() -> str:
    """Detectron2's own heads on balanced sets."""
    plan = plan_named("balanced")
    lines = header("dataset", ["classes", "iterations", "AP", "AP50", "lowest AP of a class", "seeds"])
    for dataset, length, row in _places(plan):
        one = cell(plan, row, length, dataset, 1)
        lowest = [min(ap for ap in (job.result() or {})["class_ap"] if ap is not None) for job in one.jobs.values()]
        numbers = [_number(one, "AP"), _number(one, "AP50"), f"{min(lowest):.1f}" if lowest else NOT_RUN]
        classes = str(plan.datasets[dataset]["num_classes"])
        lines.append(line(dataset, [classes, str(length), *numbers, str(len(one.metrics))]))
    return "\n".join(lines)


def conditions() -> str:
    """Table 4: each row of its plan, minus the baseline that the plan names for it."""
    plan = plan_named("table4")
    lines = header(
        "row", ["dataset", "iterations", *_BUCKETS, "AP minus", "interval over seeds", "interval over images", "seeds"]
    )
    for dataset, length, row in _places(plan):
        one = cell(plan, row, length, dataset, 1)
        baseline = plan.rows[row].get("baseline")
        minus = difference(one, cell(plan, baseline, length, dataset, 1), "AP") if baseline else None
        texts = [f"{baseline}: {NOT_RUN}" if baseline else "", "", ""]
        if minus is not None:
            texts = [f"{baseline}: {signed(minus.value)}", _interval(minus.over_seeds), _interval(minus.over_images)]
        numbers = [_number(one, name) for name in _BUCKETS]
        lines.append(line(row, [dataset, str(length), *numbers, *texts, str(len(one.metrics))]))
    return "\n".join(lines)


def differences(cells: dict[str, Cell], baseline: Cell, metrics: Sequence[str]) -> str:
    """Rows minus a baseline, with both intervals, in descending order of the first metric."""
    titles = [f"{name}{part}" for name in metrics for part in ("", ", interval over seeds", ", interval over images")]
    lines = header("row", [*titles, "seeds"])
    found = {row: [difference(one, baseline, name) for name in metrics] for row, one in cells.items()}
    run = {row: values for row, values in found.items() if any(values)}
    for row, values in sorted(run.items(), key=lambda item: -(item[1][0].value if item[1][0] else -1000)):
        texts = []
        for value in values:
            if value is None:
                texts += [NOT_RUN, "", ""]
            else:
                texts += [signed(value.value), _interval(value.over_seeds), _interval(value.over_images)]
        lines.append(line(row, [*texts, str(values[0].seeds if values[0] else 0)]))
    missing = f"Not run: {', '.join(row for row in found if row not in run)}."
    if not run:
        return missing
    return "\n".join([*lines, "", missing] if len(run) < len(found) else lines)


def _places(plan: Plan) -> list[tuple[str, int, str]]:
    """Dataset, iterations and row of each cell, in the order of the plan."""
    places = [
        (block.get("dataset", DEFAULT_DATASET), length, row)
        for block in plan.blocks
        for length in block["iterations"]
        for row in block["rows"]
    ]
    return list(dict.fromkeys(places))


def machines() -> str:
    """Where the results come from."""
    found: dict[tuple[str, ...], list[str]] = {}
    commits: dict[tuple[str, ...], set[str]] = {}
    seconds: list[float] = []
    for name, row in read_training_rows().items():
        key = tuple(str(row[part]) for part in ("processor", "threads", "torch", "detectron2", "python"))
        found.setdefault(key, []).append(name)
        commits.setdefault(key, set()).add(row["commit"])
        seconds += [row["seconds"]] if "seconds" in row else []
    lines = header("processor", ["threads", "torch", "Detectron2", "Python", "commits", "results"])
    for key, names in sorted(found.items()):
        lines.append(line(key[0], [*key[1:], ", ".join(sorted(commits[key])), str(len(names))]))
    known = f"{len(seconds)} of these results have their CPU time noted: {sum(seconds) / 3600:.1f} core-hours."
    return "\n".join([*lines, "", known])


def _number(one: Cell, metric: str, count: bool = False) -> str:
    """Mean ± standard deviation, and with `count` the number of seeds."""
    mean, spread = one.mean(metric), one.spread(metric)
    if mean is None:
        return "n/a" if one.metrics else NOT_RUN
    text = f"{mean:.1f}" + ("" if spread is None else f" ± {spread:.1f}")
    return f"{text} ({len(one.values(metric))})" if count else text


def _interval(ends: tuple[float, float] | None) -> str:
    return "none" if ends is None else signed_interval(ends)


TABLES: dict[str, Callable[[], str]] = {
    "schedule": schedule,
    "schedule differences": schedule_differences,
    "methods": methods,
    "method differences": method_differences,
    "learning rates": learning_rates,
    "imbalance": imbalance,
    "imbalance differences": imbalance_differences,
    "imbalance order": imbalance_order,
    "fit": fit.table,
    "conditions": conditions,
    "balanced": balanced,
    "photographs by iteration": photographs.curve,
    "photographs": photographs.candidates,
    "photographs end to end": photographs.end_to_end,
    "machines": machines,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="print the tables, and write nothing")
    if parser.parse_args().print:
        print("\n\n".join(f"{name}\n\n{make()}" for name, make in TABLES.items()))
        return
    PAGE.write_text(with_tables(PAGE.read_text()))
    print(PAGE)
    if has_schedule(plan_named("table2")):
        draw_schedule(plan_named("table2"))
        print(IMAGE)


if __name__ == "__main__":
    main()
