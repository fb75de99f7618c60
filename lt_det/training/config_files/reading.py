"""A yaml config with what it inherits from its `_BASE_`; no code runs and nothing is downloaded."""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path
from typing import Any

from lt_det.errors import LtDetError
from lt_det.io.plain_values.yaml_files import UNSAFE_OPTION, read_yaml
from lt_det.training.config_files.key_paths import key_paths
from lt_det.training.config_files.shipped import SCHEME, shipped_config

logger = logging.getLogger(__name__)

_BASE = "_BASE_"


def read_config(file: str | Path, allow_unsafe: bool = False, places: dict[str, Path] | None = None) -> dict[str, Any]:
    """The keys of a yaml config and of its `_BASE_`, as Detectron2 joins them: a config overrides its base, and of
    several bases the later ones override the earlier. ``lt_det://NAME`` is the shipped config of that name.

    Args:
        file: local path.
        allow_unsafe: run the code in tags such as ``!!python/object/apply:eval``, which a file has full power with. A
            warning in the log names each.
        places: gets the file in which the value of each key stands, by dotted path.

    Raises:
        LtDetError: see `read_yaml`; a `_BASE_` that is no path, missing, remote, or leads back to the file.
    """
    content, found = _read(Path(file), allow_unsafe, (), {})
    if places is not None:
        places.update(found)
    return content


_Read = tuple[dict[str, Any], dict[str, Path]]  # content, and the files of its values


def _read(file: Path, allow_unsafe: bool, above: tuple[Path, ...], done: dict[Path, _Read]) -> _Read:
    """
    Args:
        file: to read.
        allow_unsafe: see `read_config`.
        above: the files whose base this is.
        done: files that were read already, with their bases.
    """
    place = file.resolve()
    if place in above:
        raise LtDetError(f"{above[-1]}: its {_BASE} leads back to {place}; correct it.")
    if place in done:
        return copy.deepcopy(done[place])
    code: list[str] | None = [] if allow_unsafe else None
    content = read_yaml(file, "config", code)
    if code:
        logger.warning(f"{UNSAFE_OPTION}: the config {file} has run the code in its tags, at {', '.join(code)}.")
    joined: dict[str, Any] = {}
    places: dict[str, Path] = {}
    for base in _bases(content.pop(_BASE, []), file):
        inherited, inherited_places = _read(base, allow_unsafe, (*above, place), done)
        _join(inherited, joined, file, "")
        places.update(inherited_places)
    _join(content, joined, file, "")
    places.update(dict.fromkeys(key_paths(content), file))
    done[place] = (copy.deepcopy(joined), places)
    return joined, places


def _bases(value: Any, file: Path) -> list[Path]:
    found = []
    for base in value if isinstance(value, list) else [value]:
        if not isinstance(base, str) or not base:
            raise LtDetError(f"{file}: its {_BASE} is {base!r:.80}; write the path of a yaml file, or a list of paths.")
        if base.startswith(SCHEME):
            found.append(_shipped_base(base, file))
            continue
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", base):
            raise LtDetError(
                f"{file}: its {_BASE} {base} is not on this machine, and configs are not downloaded; download it, look "
                "at it, and write its path."
            )
        path = file.parent / Path(base).expanduser()
        if not path.exists():
            raise LtDetError(
                f"{file}: its {_BASE} {path} does not exist; correct the path, which is relative to the folder of the "
                f"config, or write {SCHEME}NAME for a shipped config."
            )
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise LtDetError(f"{file}: its {_BASE} {path} is {kind}; write the path of a yaml file.")
        found.append(path)
    return found


def _shipped_base(base: str, file: Path) -> Path:
    try:
        shipped = shipped_config(base.removeprefix(SCHEME))
    except LtDetError as error:
        raise LtDetError(f"{file}: its {_BASE} is {base}, but {error}") from error
    if shipped.suffix == ".py":
        raise LtDetError(
            f"{file}: its {_BASE} is {base}, a LazyConfig, whose keys a yaml config cannot have; write the name of a "
            "shipped yaml config."
        )
    return shipped


def _join(content: dict[str, Any], joined: dict[str, Any], file: Path, above: str) -> None:
    """Write the keys of a config over those of its bases."""
    for key, value in content.items():
        if not isinstance(value, dict) or key not in joined:
            joined[key] = value
        elif isinstance(joined[key], dict):
            _join(value, joined[key], file, f"{above}{key}.")
        else:
            raise LtDetError(
                f"{file}: {above}{key} has keys of its own, but in its {_BASE} it is {joined[key]!r:.80}; correct one."
            )
