"""Fonts of images and bitmaps, for letters that matplotlib's own font lacks. Browsers bring theirs for the pages."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import matplotlib
from matplotlib import font_manager

logger = logging.getLogger(__name__)

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # has accents, Greek, Cyrillic, symbols

# Common fonts of Linux, macOS and Windows, as far as they are installed. Fonts of colored bitmaps cannot be drawn.
_FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK TC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP",
    "Noto Sans KR", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback",
    "IPAGothic", "NanumGothic", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS",
    "Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic", "Noto Sans Devanagari",
    "Noto Sans Arabic", "Noto Sans Thai", "Noto Sans Hebrew", "Noto Emoji", "Symbola", "Segoe UI Symbol", "FreeSans",
    "Unifont",
)  # fmt: skip
_NAMED = 5  # letters in the warning
_reported: set[str] = set()


@cache
def fallback_fonts() -> dict[str, Path]:
    """Family and file of the installed fallback fonts, in the order in which they are tried."""
    installed: dict[str, Path] = {}
    for entry in font_manager.fontManager.ttflist:
        if entry.name in _FALLBACKS and entry.style == "normal":
            installed.setdefault(entry.name, Path(entry.fname))
    return {family: installed[family] for family in _FALLBACKS if family in installed}


def font_runs(text: str) -> list[tuple[Path, str]]:
    """The text in parts, each with the file of the first font that has its letters, or of the main font if none has."""
    files = [(_font_of(letter) or FONT, letter) for letter in text]
    return [(file, "".join(letter for _, letter in part)) for file, part in groupby(files, key=lambda found: found[0])]


def report_missing_letters(texts: Iterable[str]) -> None:
    """Log which letters no installed font has; a process says so once."""
    missing = sorted({letter for text in texts for letter in text if not letter.isspace() and not _font_of(letter)})
    if missing and not _reported:
        _reported.update(missing)
        logger.warning("%s", _sentence(missing))


def _sentence(missing: Sequence[str]) -> str:
    named = " ".join(f"{letter} (U+{ord(letter):04X})" for letter in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return (
        f"No installed font has the letters {named}{more}; images show boxes in their place, html pages do not. "
        "Install a font that has them, such as Noto Sans CJK."
    )


@cache
def _font_of(letter: str) -> Path | None:
    return next((file for file in (FONT, *fallback_fonts().values()) if ord(letter) in _letters(file)), None)


@cache
def _letters(file: Path) -> frozenset[int]:
    return frozenset(font_manager.get_font(str(file)).get_charmap())
