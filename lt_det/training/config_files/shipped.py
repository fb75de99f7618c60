"""The configs that come with lt_det, by name: ``--config lvis_eql``, ``_BASE_: lt_det://lvis_eql``."""

from __future__ import annotations

import difflib
from pathlib import Path

from lt_det.errors import LtDetError
from lt_det.io.paths import expanded

SCHEME = "lt_det://"

_PACKAGE = Path(__file__).parents[2]
_BUILT = _PACKAGE / "configs"  # setup.py copies configs/ there when it builds a wheel
FOLDER = _BUILT if _BUILT.is_dir() else _PACKAGE.parent / "configs"


def shipped_names() -> list[str]:
    """The names of all shipped configs: paths in configs/ without suffix, such as lvis_eql or lazy/lvis_eql."""
    files = [*FOLDER.glob("*.yaml"), *FOLDER.glob("base/*.yaml"), *FOLDER.glob("lazy/*.py")]
    return sorted(file.relative_to(FOLDER).with_suffix("").as_posix() for file in files)


def shipped_config(name: str) -> Path:
    """The file of a shipped config.

    Raises:
        LtDetError: no shipped config has that name.
    """
    if name not in shipped_names():
        raise LtDetError(f"lt_det ships no config '{name}'; {_names_like(name)}")
    return FOLDER / f"{name}{'.py' if name.startswith('lazy/') else '.yaml'}"


def config_path(given: str) -> str:
    """The file that ``--config`` names: one of the user's, or else the shipped config of that name.

    Raises:
        LtDetError: there is neither.
    """
    given = expanded(given)
    if Path(given).is_file():
        return given
    if given in shipped_names():
        return str(shipped_config(given))
    if Path(given).exists():  # reading it says what is wrong with a folder
        return given
    raise LtDetError(
        f"The config {given} does not exist, and is not the name of a shipped config; {_names_like(given)}"
    )


def _names_like(given: str) -> str:
    """What to write instead of a name that does not exist, as a part of a sentence."""
    name = given.removeprefix("configs/").removesuffix(".yaml").removesuffix(".py")
    close = difflib.get_close_matches(name, shipped_names(), n=3)
    return f"did you mean {', '.join(close)}?" if close else f"the shipped configs are in {FOLDER}."
