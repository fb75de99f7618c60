"""`lt-det doctor`: finds what would go wrong in a training before it is started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lt_det.doctor.environment import examine_environment
from lt_det.doctor.finding import Finding

__all__ = ["Finding", "examine"]


def examine(config_file: str | None = None, opts: Sequence[str] = (), allow_unsafe: bool = False) -> Iterator[Finding]:
    """Check packages, devices and datasets, and a config where one is given.

    Args:
        config_file: a yaml config; None: check the environment only.
        opts: KEY VALUE overrides of the config.
        allow_unsafe: run the code in the config's tags, see `lt_det.training.load_config`.

    Yields:
        findings as soon as they are known. A config is left out where a package that it needs is missing or broken.
    """
    broken = False
    for finding in examine_environment():
        broken = broken or finding.fatal
        yield finding
    if config_file is not None and not broken:
        from lt_det.doctor.config_checks import examine_config  # needs Detectron2

        yield from examine_config(config_file, opts, allow_unsafe)
