"""KEY VALUE overrides of a yaml config on the command line, checked before Detectron2 merges them."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from detectron2.utils import comm

from lt_det.errors import LtDetError
from lt_det.training.config_files.key_paths import has_key, value_at
from lt_det.training.config_files.keys import REGISTER, key_advice
from lt_det.training.config_files.types import decoded, type_problem

PLACE = "Override on the command line"

logger = logging.getLogger(__name__)


def check_overrides(words: Sequence[str], cfg: Any, defaults: Any, retired: Collection[str] = ()) -> None:
    """Check overrides, and log keys that are given twice, because the first value has no effect.

    Args:
        words: from the command line, or from a call in Python, where values need not be strings.
        cfg: the config that they override.
        defaults: the config without its file.
        retired: keys that cfg no longer has, and that Detectron2 ignores or explains.

    Raises:
        LtDetError: words that are no pairs, KEY=VALUE, an option behind the overrides, a key without its value, a key
            that there is not, a section, or a value of another type than the default's.
    """
    for key, value in zip(words[::2], words[1::2], strict=False):
        if _is_key(key, cfg) and _is_key(value, cfg):
            raise LtDetError(f"{PLACE}: {key} has no value, because the key {value} follows it; write {key} VALUE.")
    for key in words[::2]:
        if key not in retired and not has_key(cfg, key):
            raise LtDetError(f"{PLACE}: {_unknown(str(key), cfg)}")
    if len(words) % 2:
        raise LtDetError(f"{PLACE}: {words[-1]} has no value; overrides are pairs, KEY VALUE.")
    for key, value in zip(words[::2], words[1::2], strict=True):
        if key not in retired:
            _check(key, value, cfg, defaults)
    given = list(words[::2])
    for key in dict.fromkeys(key for key in given if given.count(key) > 1) if comm.is_main_process() else ():
        last = [value for name, value in zip(words[::2], words[1::2], strict=True) if name == key][-1]
        logger.warning("%s: %s is given %d times; the last value, %s, is used.", PLACE, key, given.count(key), last)


def _unknown(word: str, cfg: Any) -> str:
    """What is wrong with a word that is no key of the config, although it stands in the place of one."""
    if word.startswith("-"):
        return f"{word} is no key; write options before the first KEY VALUE."
    key, equals, value = word.partition("=")
    if equals:
        pair = f"{key} {value}" if has_key(cfg, key) and value else "KEY VALUE"
        return f"{word} is how LazyConfigs are overridden; for a yaml config write {pair}."
    if not re.fullmatch(r"[A-Za-z_][\w.]*", word):
        return f"'{word:.80}' is no key; overrides are pairs, KEY VALUE: quote a value that has spaces."
    return f"there is no key {word}; {key_advice(word, cfg)}"


def _is_key(word: Any, cfg: Any) -> bool:
    """Whether a word can be nothing but a key."""
    return isinstance(word, str) and "." in word and has_key(cfg, word)


def _check(key: str, value: Any, cfg: Any, defaults: Any) -> None:
    now = value_at(cfg, key)
    if isinstance(now, Mapping):
        raise LtDetError(f"{PLACE}: {key} {value} would replace a section; override a key in it, {key}.KEY.")
    try:
        value = decoded(value)
    except (TypeError, RecursionError, MemoryError) as error:
        raise LtDetError(
            f"{PLACE}: {key} has a value that is nested too deeply or cannot be read; correct its brackets."
        ) from error
    default = now if key.startswith(f"{REGISTER}.") else value_at(defaults, key)
    if problem := type_problem(key, value, default, in_shell=True):
        raise LtDetError(f"{PLACE}: {key} is {value!r:.120}; {problem}.")
