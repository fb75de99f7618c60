"""``key=value`` overrides of a LazyConfig, which Detectron2 writes into it whether or not the key exists."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from detectron2.config import LazyConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lt_det.errors import LtDetError


def apply_overrides(cfg: Any, words: Sequence[str]) -> Any:
    """The config with ``key=value`` for keys that it has, and ``+key=value`` for new ones.

    Raises:
        LtDetError: an override that does not parse, or a key that is not there.
    """
    try:
        for override in OverridesParser.create().parse_overrides(list(words)):
            key = override.key_or_group
            if override.is_delete():
                raise LtDetError(
                    f"Override on the command line: {override.input_line} would delete {key}, which Detectron2 cannot; "
                    "change the config file."
                )
            if not (override.is_add() or override.is_force_add()):
                _check_key(cfg, key)
        return LazyConfig.apply_overrides(cfg, list(words))
    except (HydraException, OmegaConfBaseException, KeyError) as error:
        what = str(error.args[0] if error.args else error).strip().split("\n")[0].rstrip(".")
        raise LtDetError(f"Override on the command line: {what}; write key=value.") from error


def _check_key(cfg: Any, key: str) -> None:
    parts = key.split(".")
    for depth, part in enumerate(parts):
        path = ".".join(parts[:depth])
        node = OmegaConf.select(cfg, path) if path else cfg
        if isinstance(node, ListConfig):
            names = [str(index) for index in range(len(node))]
        elif isinstance(node, DictConfig):
            names = [str(name) for name in node]
        else:
            raise LtDetError(f"Override on the command line: {path} is {node} and has no key {part}; correct {key}.")
        if part in names:
            continue
        close = difflib.get_close_matches(part, names, n=1)
        meant = f"did you mean {'.'.join([*parts[:depth], *close])}? If not," if close else "correct it, or"
        raise LtDetError(
            f"Override on the command line: the config has no {'.'.join(parts[: depth + 1])}; {meant} write +{key}=... "
            "to add it."
        )
