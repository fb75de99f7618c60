"""Things that users extend lt_det by, under names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast

_Entry = TypeVar("_Entry")
_Registered = TypeVar("_Registered")


class Registry(dict[str, _Entry], Generic[_Entry]):
    """Entries by name, in the order of their registration. `register` takes each name once.

    Args:
        kind: what an entry is, with its article, for error messages: "A sampler".
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[_Registered], _Registered]:
        """Decorator that adds a class or function as `name`, and returns it unchanged.

        Raises:
            ValueError: the name is taken.
        """

        def register(entry: _Registered) -> _Registered:
            if name in self:
                raise ValueError(f"{self.kind} named '{name}' is registered already: {self[name]}")
            self[name] = cast(_Entry, entry)
            return entry

        return register
