"""Which glyphs are the classes of a `mini_lvis`, their category names, and how they are drawn."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from lt_det.datasets.mini_lvis.dejavu import dejavu_glyphs, dejavu_name, random_dejavu_mask
from lt_det.datasets.mini_lvis.hershey import HERSHEY_GLYPHS, hershey_name, random_hershey_mask
from lt_det.datasets.mini_lvis.scenes import RandomMask
from lt_det.errors import LtDetError

__all__ = ["GlyphClasses", "choose_classes"]


@dataclass(frozen=True)
class GlyphClasses:
    """The classes of a dataset, in the order of their category ids; `names` can be file names, too.

    Attributes:
        glyphs: one character for each class.
        names: category name of each class.
        definitions: what LVIS calls `def`.
        random_mask: draws the mask of a character.
    """

    glyphs: Sequence[str]
    names: Sequence[str]
    definitions: Sequence[str]
    random_mask: RandomMask


def choose_classes(num_classes: int) -> GlyphClasses:
    """Letters and digits for up to 62 classes, glyphs of many scripts for more.

    Raises:
        LtDetError: there are not so many glyphs, or fewer than 3 classes are asked for.
    """
    most = len(dejavu_glyphs())
    if not 3 <= num_classes <= most:
        raise LtDetError(f"mini_lvis has 3 to {most} classes, not {num_classes}.")
    available = len(HERSHEY_GLYPHS)
    if num_classes <= available:
        glyphs = [HERSHEY_GLYPHS[round(i * available / num_classes)] for i in range(num_classes)]
        names = [hershey_name(glyph) for glyph in glyphs]
        kinds = {"digit": "digit", "upper": "capital letter", "lower": "small letter"}
        definitions = [f"the {kinds[name[:-2]]} {glyph}" for name, glyph in zip(names, glyphs, strict=True)]
        return GlyphClasses(glyphs, names, definitions, random_hershey_mask)
    glyphs = list(dejavu_glyphs()[:num_classes])
    definitions = [f"the character {glyph}, U+{ord(glyph):04X} {unicodedata.name(glyph)}" for glyph in glyphs]
    return GlyphClasses(glyphs, [dejavu_name(glyph) for glyph in glyphs], definitions, random_dejavu_mask)
