"""The keys and types of a yaml config, held against the defaults before Detectron2 merges it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from lt_det.errors import LtDetError
from lt_det.training.config_files.key_paths import has_key, key_paths, value_at
from lt_det.training.config_files.types import decoded, type_problem
from lt_det.training.config_files.values import LOSSES

PlaceOf = Callable[[str], str]  # where a key is written: its file, or the command line

REGISTER = "DATASETS.REGISTER"  # the one section to which configs add keys


def check_keys(content: Mapping[str, Any], cfg: Any, place_of: PlaceOf, retired: Collection[str] = ()) -> None:
    """Check the content of a file.

    Args:
        content: keys of the file and of its bases.
        cfg: the defaults that it will be merged into.
        place_of: see `PlaceOf`.
        retired: keys that cfg no longer has, and that Detectron2 ignores or explains.

    Raises:
        LtDetError: a key that there is not, a value that stands for a section, such as ``SOLVER:`` without anything
            below it, keys where a value is wanted, or a value of another type than the default's. The keys of a config
            of Detectron2's version 1, which has other names, are checked for sections only.
    """
    version = content.get("VERSION", 2)
    if type(version) is not int or version not in (1, 2):
        raise LtDetError(f"{place_of('VERSION')}: VERSION is {version!r:.80}; write VERSION: 2.")
    is_old = version == 1 or ("VERSION" not in content and _looks_old(content))
    for path, value, default in _values(content, cfg, place_of, retired, is_old):
        if problem := type_problem(path, _decoded(value, path, place_of), default):
            raise LtDetError(f"{place_of(path)}: {path} is {value!r:.120}; {problem}.")


def _looks_old(content: Mapping[str, Any]) -> bool:
    """How Detectron2 recognizes a config of version 1 that does not say so."""
    keys = (("MODEL", "WEIGHT"), ("TEST", "AUG_ON"))
    return any(isinstance(content.get(section), Mapping) and key in content[section] for section, key in keys)


def _values(
    content: Mapping[str, Any], cfg: Any, place_of: PlaceOf, retired: Collection[str], is_old: bool, above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Keys, values and defaults."""
    section = value_at(cfg, above.rstrip("."))
    for key, value in content.items():
        path = f"{above}{key}"
        if path in retired:
            continue
        if key not in section:
            if not is_old:
                raise LtDetError(f"{place_of(path)}: there is no key {path}; {_advice_in_file(path, key, cfg)}")
        elif not isinstance(section[key], Mapping):
            yield path, value, section[key]
        elif not isinstance(value, Mapping):
            raise LtDetError(
                f"{place_of(path)}: {path} is {'null' if value is None else repr(value):.80}, but it is a section of "
                "the config; write its keys and their values below it, or remove it."
            )
        elif path != REGISTER:  # its entries are checked when they are registered
            yield from _values(value, cfg, place_of, retired, is_old, f"{path}.")


def _decoded(value: Any, path: str, place_of: PlaceOf) -> Any:
    try:
        return decoded(value)
    except (TypeError, RecursionError, MemoryError) as error:
        raise LtDetError(
            f"{place_of(path)}: {path} is {value!r:.80}, which is nested too deeply or cannot be read; correct its "
            "brackets."
        ) from error


def _advice_in_file(path: str, key: str, cfg: Any) -> str:
    if "." in key and has_key(cfg, path):
        *sections, last = key.split(".")
        return (
            f"write it in its section: {''.join(f'{name}: {{' for name in sections)}{last}: ...{'}' * len(sections)}."
        )
    if key.strip("_").upper() == "BASE":
        return "did you mean _BASE_, at the beginning of the file?"
    return key_advice(path, cfg)


def key_advice(path: str, cfg: Any) -> str:
    """What to do about a key that there is not, as the end of a sentence."""
    if path.startswith(f"{REGISTER}."):
        return f"overrides cannot add keys to {REGISTER}, so write it into the config file."
    if close := _meant(path, cfg):
        return f"did you mean {' or '.join(close)}?"
    above = path.rpartition(".")[0]
    if path.startswith(LOSSES) and above.count(".") == 3 and has_key(cfg, above):
        return f"the keys of this loss are {', '.join(value_at(cfg, above)) or 'none'}."
    if path.startswith(LOSSES):
        return "correct it, or register a loss of your own first: lt-det --import MODULE, see docs/losses.md."
    return "correct or remove it; docs/config.md lists the keys of lt_det, and lt-det --import MODULE adds your own."


def _meant(path: str, cfg: Any) -> list[str]:
    """Keys that may be meant, the likeliest first."""
    if near := _nearest(path.split("."), cfg):
        return [near]
    if path.startswith(LOSSES):  # the losses have many keys in common
        return []
    known = list(key_paths(cfg))
    last = path.upper().split(".")[-2:]
    elsewhere = [key for key in known if key.split(".")[-len(last) :] == last]
    elsewhere = elsewhere or [key for key in known if key.rpartition(".")[2] == last[-1]]
    if 0 < len(elsewhere) <= 3:
        return elsewhere
    return difflib.get_close_matches(path.upper(), known, n=1, cutoff=0.8)


def _nearest(parts: list[str], section: Any) -> str:
    """The key whose every part is closest, section by section; empty if a part has nothing close."""
    found = []
    for part in parts:
        names = list(section) if isinstance(section, Mapping) else []
        name = part if part in names else next(iter(difflib.get_close_matches(part.upper(), names, n=1)), None)
        if name is None:
            return ""
        found.append(name)
        section = section[name]
    return ".".join(found)
