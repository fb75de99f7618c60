"""How a comparison calls its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lt_det.errors import LtDetError
from lt_det.evaluation.bakeoff_schema import BAKEOFF_NAME, read_bakeoff
from lt_det.evaluation.schema import EVALUATION_NAME


def run_names(roots: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ; for the detector of a bake-off, the name of its candidate."""
    parts = [root.resolve().parts for root in roots]
    length = 1
    while len({path[-length:] for path in parts}) < len(parts):
        length += 1
    ends = ["/".join(path[-length:]) for path in parts]
    names = [_written_candidate(root) or end for root, end in zip(roots, ends, strict=True)]
    count = Counter([*names, *ends])
    return [name if name == end or count[name] == 1 else end for name, end in zip(names, ends, strict=True)]


def _written_candidate(root: Path) -> str | None:
    """The candidate that a bake-off wrote to this folder, if it was evaluated after that; otherwise None."""
    try:
        written = read_bakeoff(root.resolve().parent / BAKEOFF_NAME).written
        if written is None or Path(written.checkpoint).parent.name != root.resolve().name:
            return None
        time = (root / Path(written.checkpoint).name).stat().st_mtime
        evaluations = root.glob(f"inference/*/{EVALUATION_NAME}")
        return written.name if all(file.stat().st_mtime >= time for file in evaluations) else None
    except (LtDetError, OSError):  # no bake-off, or one that cannot be read
        return None
