"""Options that a command line has several times: refused, or collected; argparse would drop all but the last."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class GivenOnce(argparse.Action):
    """The action of an option with one value, and of arguments without a name."""

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
    """A parser, and the parsers of its commands, whose options with one value are `GivenOnce`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("action", None, GivenOnce)
