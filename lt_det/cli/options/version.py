"""``lt-det --version``."""

from __future__ import annotations

import argparse
from typing import Any


class ShowVersions(argparse.Action):
    """Prints the versions of lt_det and of what it runs on, and exits; it imports none of them."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from lt_det.doctor.environment import versions

        print(", ".join(f"{name} {version}" for name, version in versions().items()))
        parser.exit()
