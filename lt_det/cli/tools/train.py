"""`lt-det train`: a yaml config or a LazyConfig."""

from __future__ import annotations

from collections.abc import Sequence

from lt_det.training import argument_parser
from lt_det.training import run as launch
from lt_det.training.launch.programs import train


def run(words: Sequence[str] | None = None, program: str | None = None) -> int:
    return launch(train, argument_parser(program).parse_args(words))
