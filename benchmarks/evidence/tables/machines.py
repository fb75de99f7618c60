"""Where the results come from."""

from __future__ import annotations

from benchmarks.evidence.rows import read_training_rows
from benchmarks.evidence.tables.markdown import header, line


def machines() -> str:
    """Processors, versions and commits of the results, and their CPU time."""
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
