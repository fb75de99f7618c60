"""Names that a package exports but imports only when they are first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def _import(module: str, name: str) -> Any:
    return importlib.import_module(module)


def lazy_exports(
    package: str, module_of: Mapping[str, str], load: Callable[[str, str], Any] = _import
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package, see PEP 562.

    Args:
        package: ``__name__`` of the package.
        module_of: the module that defines each name, such as {"evaluate": "lt_det.evaluation.api"}. A submodule has its
            own name as its module.
        load: imports a module, for a name of the package.
    """

    def __getattr__(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = load(module_of[name], name)
        value = module if module_of[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return __getattr__, __dir__
