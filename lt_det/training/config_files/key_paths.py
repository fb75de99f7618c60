"""Keys by dotted path, such as SOLVER.BASE_LR, in configs of any kind: yaml content, CfgNodes, LazyConfigs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def value_at(content: Any, path: str, default: Any = None) -> Any:
    """The value or the section under a path; `default` if it is missing, and the content for an empty path."""
    for key in path.split(".") if path else ():
        if not isinstance(content, Mapping) or key not in content:
            return default
        content = content[key]
    return content


def has_key(content: Any, path: str) -> bool:
    """Whether there is a key or a section under a path."""
    section, _, key = path.rpartition(".")
    node = value_at(content, section)
    return isinstance(node, Mapping) and key in node


def key_paths(content: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The paths of all sections and keys.

    Args:
        content: a config or a section.
        above: the section's own path, with a dot at the end.
    """
    for key, value in content.items():
        yield f"{above}{key}"
        if isinstance(value, Mapping):
            yield from key_paths(value, f"{above}{key}.")
