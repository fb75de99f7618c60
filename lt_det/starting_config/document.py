"""A yaml config in which a comment above each value says why it was chosen."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

_WIDTH = 120


class Choice(NamedTuple):
    """A value of a config, and the reason for it."""

    value: Any
    why: str = ""


def render(title: str, choices: Mapping[str, Choice], sections: Mapping[str, str]) -> str:
    """The text of a config.

    Args:
        title: the comment at the top; each of its lines is wrapped.
        choices: values by dotted key, such as SOLVER.BASE_LR, in the order of the text. Values are numbers, texts, and
            lists of them.
        sections: comments above sections, by dotted key; those of sections without a value are left out.
    """
    tree: dict[str, Any] = {}
    for key, choice in choices.items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = choice
    top = [line for written in title.split("\n") for line in _comment(written, "") or ["#"]]
    return "\n".join([*top, *_lines(tree, "", "", sections)]) + "\n"


def _lines(node: Mapping[str, Any], above: str, indent: str, sections: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for key, value in node.items():
        path = f"{above}{key}"
        if not indent:
            lines.append("")
        if isinstance(value, Choice):
            lines += [*_comment(value.why, indent), f"{indent}{key}: {_scalar_or_list(value.value)}"]
        else:
            lines += [*_comment(sections.get(path, ""), indent), f"{indent}{key}:"]
            lines += _lines(value, f"{path}.", f"{indent}  ", sections)
    return lines


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def _scalar_or_list(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar_or_list, value))}]"
    if isinstance(value, float):
        return (
            f"{value:.10f}".rstrip("0").ljust(3, "0") if abs(value) < 0.001 else repr(value)
        )  # yaml reads 1e-4 as text
    text: str = yaml.safe_dump([value], default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.strip()[1:-1]  # quoted as it must be in a list
