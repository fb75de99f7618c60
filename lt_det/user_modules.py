"""A user's own modules, whose import registers losses, samplers, datasets or parts of Detectron2 for the commands."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from lt_det.errors import LtDetError, reason_of

VARIABLE = "LT_DET_IMPORT"
_WHERE = f"--import or {VARIABLE}"

_Function = TypeVar("_Function", bound=Callable[[Any], Any])
_add_keys: list[Callable[[Any], Any]] = []


def import_user_modules() -> None:
    """Import the modules that LT_DET_IMPORT names, separated by commas. The working directory is searched first.

    Processes that lt_det starts inherit the variable, so each can call this.

    Raises:
        LtDetError: a module is missing, or its import fails.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    folder = os.getcwd()
    if names and folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does
    if names:
        with suppress(Exception):  # if Detectron2 is broken, the module that imports it says so
            importlib.import_module("lt_det.compat.quiet_import")
    for name in names:
        _import(name)


def _import(name: str) -> None:
    if name.endswith(".py"):
        module = name.removesuffix(".py").replace(os.sep, ".").strip(".")
        raise LtDetError(f"'{name}' is a file ({_WHERE}); write the name of the module: {module}.")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
        raise LtDetError(
            f"There is no module '{name}' ({_WHERE}) in {os.getcwd()} or among the installed packages; correct the "
            "name, or run the command in the folder of the module."
        ) from error
    except Exception as error:  # a user's program can fail in any way
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> LtDetError:
    return LtDetError(f"The module '{name}' ({_WHERE}) cannot be imported: {reason_of(error)}; correct it.")


def register_config_keys(add_keys: _Function) -> _Function:
    """Give every yaml config that lt_det loads the keys of a project.

    Args:
        add_keys: such as a project's ``add_my_config(cfg)``, which adds keys with their defaults to a config.

    Returns:
        The function, so that this can be a decorator.
    """
    _add_keys.append(add_keys)
    return add_keys


def add_user_keys(cfg: Any) -> None:
    """Add the keys of all registered functions.

    Raises:
        LtDetError: one of them fails.
    """
    for add_keys in _add_keys:
        try:
            add_keys(cfg)
        except Exception as error:
            name = getattr(add_keys, "__name__", repr(add_keys))
            raise LtDetError(f"{name} of register_config_keys fails: {reason_of(error)}; correct it.") from error
