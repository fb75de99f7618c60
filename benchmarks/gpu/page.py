"""Write the tables of docs/gpu.md from benchmarks/results/gpu.jsonl: figures that `benchmarks/gpu.sh` wrote.

python -m benchmarks.gpu.page
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.figures import read_figures
from lt_det.losses import LOSSES

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "gpu.jsonl", ROOT / "docs" / "gpu.md"
BEGIN, END = "<!-- results, made by benchmarks/gpu/page.py -->\n", "<!-- /results -->"

Figures = dict[str, dict[str, dict[str, Any]]]


def by_case(rows: list[dict[str, Any]]) -> Figures:
    """Figures by stage and case."""
    found: Figures = {}
    for row in rows:
        found.setdefault(row.pop("stage"), {})[row.pop("case")] = row
    return found


def tables(figures: Figures) -> str:
    """Markdown: machines, outcomes, losses, steps, detections."""
    return "\n\n".join([_runs(figures), _steps(figures), _losses(figures), _detections(figures)]) + "\n"


def with_tables(page: str, figures: Figures) -> str:
    """The page with the tables in their place."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{tables(figures)}\n{END}{rest.split(END)[1]}"


def _runs(figures: Figures) -> str:
    first, *others = figures["machine"].values()
    commits = " and ".join(run["commit"] for run in (first, *others))
    lines = [
        f"One {first['card']}, driver {first['driver']}, torch {first['torch']}, CUDA {first['cuda']}, Python "
        f"{first['python']}, {first['date']}, commits {commits}, in "
        "[benchmarks/results/gpu.jsonl](../benchmarks/results/gpu.jsonl).",
        "",
        "| stage | outcome | seconds |",
        "|---|---|---:|",
    ]
    lines += [f"| `{name}` | {one['outcome']} | {one['seconds']:.0f} |" for name, one in figures["stages"].items()]
    return "\n".join(lines)


def _steps(figures: Figures) -> str:
    lines = ["| a whole training step | milliseconds | time | peak GB | memory | host waits |", "|---|" + "---:|" * 5]
    for case, one in figures["step"].items():
        lines.append(
            f"| {case} | {one['milliseconds']:.0f} | {one['time_ratio']:.2f} | {one['peak_megabytes'] / 1000:.1f} | "
            f"{one['memory_ratio']:.2f} | {one['host_synchronizations']} |"
        )
    for case, one in figures["amp"].items():
        lines.append(
            f"| lt_det, EQL, {case} | {one['milliseconds']:.0f} | {one['time_ratio']:.2f} of float32 | "
            f"{one['peak_megabytes'] / 1000:.1f} | {one['memory_ratio']:.2f} of float32 | |"
        )
    return "\n".join(lines)


def _losses(figures: Figures) -> str:
    titles = ["loss", "alone, milliseconds", "alone, memory", "host waits"]
    titles += [f"head, {count} classes: time, memory" for count in ("1203", "13,204")]
    titles += ["compiled: time, memory"]
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    reference = figures["losses"]["F.cross_entropy, float32"]
    lines.append(f"| `F.cross_entropy` | {reference['milliseconds']:.2f} | 1.00 | 0 | | | |")
    for name in sorted(LOSSES):
        alone, compiled = figures["losses"][f"{name}, float32"], figures["compile"][name]
        heads = [figures["classes"][f"{name}, {count} classes"] for count in (1203, 13204)]
        cells = [f"{alone['milliseconds']:.2f}", f"{alone['memory_ratio']:.2f}", str(alone["host_synchronizations"])]
        cells += [f"{one['time_ratio']:.2f}, {one['memory_ratio']:.2f}" for one in (*heads, compiled)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _detections(figures: Figures) -> str:
    found = figures["classes"]
    lines = ["| detections of 1000 proposals | lt_det, milliseconds | Detectron2, milliseconds |", "|---|---:|---:|"]
    for count in (1203, 13204):
        own, stock = (found[f"{who}, detections, {count} classes"] for who in ("lt_det", "Detectron2"))
        lines.append(f"| {count:,} classes | {own['milliseconds']:.1f} | {stock['milliseconds']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(), by_case(read_figures(RESULTS))))
