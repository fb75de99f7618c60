"""`lt-det doctor`: what would go wrong in a training, before it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lt_det.doctor.environment import examine_environment
from lt_det.doctor.finding import Finding

__all__ = ["Finding", "examine"]


def examine(config_file: str | None = None, opts: Sequence[str] = ()) -> Iterator[Finding]:
    """Look at packages, devices and data sets, and with `config_file` and its overrides `opts` at a config."""
    broken = False
    for finding in examine_environment():
        broken = broken or finding.fatal
        yield finding
    if config_file is not None and not broken:
        from lt_det.doctor.config import examine_config  # needs Detectron2

        yield from examine_config(config_file, opts)
