"""The value of an arithmetic expression, computed without running it as a program."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,  # of floats, so that no number becomes huge
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_MOST_STEPS = 10_000


def value_of(expression: str) -> Any:
    """The value of an expression of numbers, lists, + - * / // % ** and comprehensions over lists; None for any other.

    Detectron2's own configs have such expressions, for sizes of anchors.
    """
    try:
        steps = iter(range(_MOST_STEPS))
        return _value(ast.parse(expression.strip(), mode="eval").body, {}, steps)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError, StopIteration):
        return None


def _value(node: ast.AST, names: Mapping[str, Any], steps: Iterator[int]) -> Any:
    next(steps)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item, names, steps) for item in node.elts]
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_number(node.operand, names, steps))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_number(node.left, names, steps), _number(node.right, names, steps))
    if isinstance(node, ast.ListComp) and len(node.generators) == 1:
        (loop,) = node.generators
        items = _value(loop.iter, names, steps)
        if isinstance(loop.target, ast.Name) and isinstance(items, list) and not loop.ifs:
            return [_value(node.elt, {**names, loop.target.id: item}, steps) for item in items]
    raise ValueError(ast.dump(node)[:80])


def _number(node: ast.AST, names: Mapping[str, Any], steps: Iterator[int]) -> float:
    value = _value(node, names, steps)
    if not isinstance(value, int | float) or abs(value) > 1e18:
        raise ValueError(value)
    return value
