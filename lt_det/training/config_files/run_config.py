"""The config.yaml that a training has written, where it only gives a hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def config_in(folder: Path) -> Any:
    """Content of the config.yaml in a folder, of a yaml config or a LazyConfig; None if it is missing or unreadable."""
    try:
        return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
