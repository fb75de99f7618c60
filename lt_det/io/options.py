"""What every command does with its options: a repeated one is refused or collected, and paths are expanded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lt_det.io.paths import expanded


class GivenOnce(argparse.Action):
    """The action of an option with one value, and of arguments without a name; argparse would drop all but the last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = vars(namespace).setdefault("options_given", set())
        if self.dest in given:
            before = getattr(namespace, self.dest)
            raise argparse.ArgumentError(self, f"given twice, as {before} and as {values}; give one of them")
        if self.option_strings:
            given.add(self.dest)
        setattr(namespace, self.dest, values)


class Collected(argparse.Action):
    """The action of an option with a list of values and a default, which the first of several lists replaces."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, self.default)
        setattr(namespace, self.dest, [*(() if before is self.default else before), *(values or ())])


class OneValueParser(argparse.ArgumentParser):
    """A parser, and the parsers of its commands, whose options with one value are `GivenOnce`.

    The type Path expands ~ and $VARIABLES, as in a config: no shell does so in ``--gt=~/val.json`` or in quotes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("action", None, GivenOnce)
        self.register("type", Path, lambda written: Path(expanded(written)))
