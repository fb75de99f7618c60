"""``key=value`` overrides of a LazyConfig on the command line."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from typing import Any

from detectron2.config import LazyConfig
from detectron2.utils import comm
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lt_det.errors import LtDetError
from lt_det.training.config_files.overrides import PLACE

logger = logging.getLogger(__name__)


def apply_lazy_overrides(cfg: Any, words: Sequence[str]) -> Any:
    """A LazyConfig with ``key=value`` for keys that it has, and ``+key=value`` for new ones.

    Detectron2 alone would add a misspelled key without a word. Keys that are given twice are logged, because the first
    value has no effect.

    Raises:
        LtDetError: an override that does not parse, or a key that is not in the config.
    """
    keys = []
    try:
        for word in words:
            override = _parsed(word)
            key = override.key_or_group
            if override.is_delete():
                raise LtDetError(
                    f"{PLACE}: {word} would delete {key}, which Detectron2 cannot; change the config file."
                )
            if not (override.is_add() or override.is_force_add()):
                _check_key(cfg, key)
            keys.append(key)
        for key in dict.fromkeys(key for key in keys if keys.count(key) > 1) if comm.is_main_process() else ():
            logger.warning("%s: %s is given %d times; the last value is used.", PLACE, key, keys.count(key))
        return LazyConfig.apply_overrides(cfg, list(words))
    except (OmegaConfBaseException, KeyError) as error:
        reason = str(error.args[0] if error.args else error).strip().split("\n")[0].rstrip(".")
        raise LtDetError(f"{PLACE}: {reason}; correct the key or its value.") from error


def _parsed(word: str) -> Override:
    if word.startswith("-"):
        raise LtDetError(f"{PLACE}: {word} is no key; write options before the first key=value.")
    if "=" not in word and not word.startswith("~"):
        yaml = f"{word} VALUE is how yaml configs are overridden; " if word.isupper() else f"{word} has no value; "
        raise LtDetError(f"{PLACE}: {yaml}for a LazyConfig write key=value.")
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except (HydraException, ValueError) as error:
        raise LtDetError(
            f"{PLACE}: {word:.120} cannot be read; write key=value, close its brackets, and use both kinds of quotes "
            "for a string with special characters: \"key='a b$c'\"."
        ) from error
    return override


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
            raise LtDetError(f"{PLACE}: {path} is {node} and has no key {part}; correct {key}.")
        if part in names:
            continue
        close = difflib.get_close_matches(part, names, n=1)
        meant = f"did you mean {'.'.join([*parts[:depth], *close])}? If not," if close else "correct it, or"
        raise LtDetError(
            f"{PLACE}: the config has no {'.'.join(parts[: depth + 1])}; {meant} write +{key}=... to add it."
        )
