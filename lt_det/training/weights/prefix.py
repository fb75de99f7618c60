"""Names of weights with a prefix, which wrappers of a network add: torch.compile (_orig_mod.), Lightning (model.)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def prefix_of(weights: Mapping[str, Any], own: Collection[str]) -> str:
    """What all names of weights begin with, if the network has most of them without it and none with it; else empty.

    Args:
        weights: by name.
        own: names of the network's weights.
    """
    own = set(own)
    if not own.isdisjoint(weights):
        return ""
    first = next(iter(weights), "")
    for end in (k + 1 for k, letter in enumerate(first) if letter == "."):
        without = [name[end:] for name in weights if name.startswith(first[:end])]
        if len(without) == len(weights) and 2 * len(own.intersection(without)) > len(without):
            return first[:end]
    return ""
