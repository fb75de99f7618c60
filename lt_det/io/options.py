"""Options that a command line has several times: refused, or collected; argparse would drop all but the last."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class _Repeatable(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, self.combined(getattr(namespace, self.dest, self.default), values))

    def combined(self, before: Any, values: Any) -> Any:
        """The value of the option, from the one so far, which is the default at first, and what is given now."""
        raise NotImplementedError


class GivenOnce(_Repeatable):
    """The action of an option with one value."""

    def combined(self, before: Any, values: Any) -> Any:
        if before != self.default:
            raise argparse.ArgumentError(self, f"given twice, as {before} and as {values}; give one of them")
        return values


class Collected(_Repeatable):
    """The action of an option with a list of values and a default, which the first of several lists replaces."""

    def combined(self, before: Any, values: Any) -> Any:
        return [*(() if before is self.default else before), *values]
