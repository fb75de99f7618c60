"""Whether a value of a yaml config has the type of its default, and what to write instead.

Detectron2 compares exact types: an integer does not replace a float, but a string that looks like a number is one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from lt_det.numbers import is_number

_STRING, _NUMBER, _WHOLE = "a string", "a number", "a whole number"

# What lists hold whose default is empty, and whole numbers, which a default does not show.
_ELEMENTS = {
    "DATASETS.TRAIN": _STRING,
    "DATASETS.TEST": _STRING,
    "DATASETS.PROPOSAL_FILES_TRAIN": _STRING,
    "DATASETS.PROPOSAL_FILES_TEST": _STRING,
    "MODEL.FPN.IN_FEATURES": _STRING,
    "MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS": _STRING,
    "TEST.BUCKETS.NAMES": _STRING,
    "TEST.KEYPOINT_OKS_SIGMAS": _NUMBER,
    "SOLVER.STEPS": _WHOLE,
    "INPUT.MIN_SIZE_TRAIN": _WHOLE,
    "TEST.AUG.MIN_SIZES": _WHOLE,
    "TEST.BUCKETS.EDGES": _WHOLE,
    "MODEL.RPN.IOU_LABELS": _WHOLE,
    "MODEL.RPN.CONV_DIMS": _WHOLE,
    "MODEL.ROI_HEADS.IOU_LABELS": _WHOLE,
}


def decoded(value: Any) -> Any:
    """A value as Detectron2 takes it: a string that is a Python literal, such as "1e-3" or "(1, 2)", becomes its value.

    Raises:
        TypeError, RecursionError, MemoryError: a literal that Python cannot evaluate.
    """
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def type_problem(path: str, value: Any, default: Any, in_shell: bool = False) -> str | None:
    """What to write instead of a value of another type than the default; None if the type is right, or either is None.

    Args:
        path: the key, with the sections above it.
        value: decoded.
        default: no section.
        in_shell: whether the value is from the command line, where a shell removes quotes.
    """
    if isinstance(value, Mapping):
        what = f"a list, such as {default!r}" if isinstance(default, list | tuple) and default else "its value"
        return f"write {what}, and no keys below it"
    if value is None or default is None:
        return None
    if isinstance(default, list | tuple):
        return None if isinstance(value, list | tuple) else _list_wanted(path, value, default, in_shell)
    if type(value) is type(default):
        return None
    if isinstance(default, bool):
        return "write True or False"
    if isinstance(default, str):
        return _string_wanted(value, default)
    return _number_wanted(value, default)


def element_kind(path: str, default: list[Any] | tuple[Any, ...]) -> str | None:
    """What the elements of a list are, in words; None for TEST.EXPECTED_RESULTS, whose rows are checked elsewhere."""
    return _ELEMENTS.get(path) or next((_kind(element) for element in flat(default)), None)


def is_of_kind(element: Any, kind: str) -> bool:
    if kind == _STRING:
        return isinstance(element, str)
    if kind == _WHOLE:
        return is_number(element) and float(element).is_integer()
    return is_number(element) if kind == _NUMBER else isinstance(element, bool)


def flat(values: Any) -> Iterator[Any]:
    """The elements of lists within lists."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value


def _kind(element: Any) -> str:
    if isinstance(element, bool):
        return "True or False"
    return _STRING if isinstance(element, str) else _NUMBER


def _list_wanted(path: str, value: Any, default: list[Any] | tuple[Any, ...], in_shell: bool) -> str:
    if isinstance(value, str) and value.startswith("(") and not in_shell and ")" not in value:
        return "within { } of yaml, write a list in brackets: [1, 2]"  # yaml has split (1, 2) at its comma
    if isinstance(value, str) and value.strip()[:1] in ("[", "("):
        quoted = ", and quote the whole for the shell" if in_shell else ""
        return f"quote its strings, and close its brackets{quoted}: \"['a', 'b']\""
    kind, nested = element_kind(path, default), bool(default) and isinstance(default[0], list | tuple)
    if kind is None or nested or value == "" or not is_of_kind(value, kind):
        return f"write a list, such as {default!r}" if default else f"write a list; {default!r} is an empty one"
    return f'write a list: "{[value]!r}"' if in_shell else f"write a list: {[value]!r}"


def _string_wanted(value: Any, default: str) -> str:
    if default and not default.startswith("./"):
        return f"write a string, such as {default!r}"
    if isinstance(value, list | tuple):
        return "write one string, not a list"
    return f"""write a string; for the string {value}, use both kinds of quotes: "'{value}'\""""


def _number_wanted(value: Any, default: float) -> str:
    if isinstance(default, float):
        if is_number(value):
            return f"write {float(value)}, with a decimal point"
        return f"write a number, such as {default}"
    if is_number(value) and value == int(value):
        return f"write {int(value)}, without a decimal point"
    return f"write a whole number, such as {default}"
