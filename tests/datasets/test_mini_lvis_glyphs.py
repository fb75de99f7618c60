"""The glyphs of a mini_lvis of many classes: no two alike, drawn as the font has them, and whole datasets of them."""

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_util
import pytest

from lt_det.datasets.mini_lvis.dejavu import dejavu_glyphs, dejavu_mask
from lt_det.datasets.mini_lvis.generate import write_mini_lvis
from lt_det.datasets.mini_lvis.glyph_selection import CLOSEST, choose_glyphs, distances, fingerprints
from lt_det.datasets.mini_lvis.glyphs import choose_classes
from lt_det.errors import LtDetError

BALANCED = {"num_train": 80, "num_val": 40, "num_classes": 80, "imbalance": "step", "ratio": 1, "image_size": 96}


def closest_pair(glyph: str, others: list[str]) -> float:
    return float(distances(glyph, fingerprints(others)).min())


# ------------------------------------------------------------------------------------------ the choice


def test_there_are_as_many_glyphs_as_lvis_has_classes() -> None:
    assert len(set(dejavu_glyphs())) == len(dejavu_glyphs()) == 1203


def test_no_glyph_is_closer_than_the_limit_to_one_chosen_before() -> None:
    """Some glyphs against every thirtieth of those that follow, and the last ones, which are the closest."""
    glyphs = dejavu_glyphs()
    for place in (0, 5, 301, 601, 901, 1151):
        later = glyphs[place + 1 :: 30] + glyphs[-10:]
        assert closest_pair(glyphs[place], list(later)) > CLOSEST - 0.05


def test_twins_are_closer_than_the_limit() -> None:
    """One shape in several scripts and in two sizes."""
    for glyph, twin in (("A", "Α"), ("A", "А"), ("o", "O"), ("O", "О"), ("S", "s"), ("Z", "z")):
        assert closest_pair(glyph, [twin]) < CLOSEST - 1, (glyph, twin)


def test_letters_that_differ_are_farther_than_the_limit() -> None:
    for glyph, other in (("A", "B"), ("A", "H"), ("Ж", "K"), ("T", "L")):
        assert closest_pair(glyph, [other]) > CLOSEST + 1, (glyph, other)


def test_the_first_glyphs_are_chosen_again_from_fewer_candidates() -> None:
    glyphs = dejavu_glyphs()
    chosen, reached = choose_glyphs(sorted({*glyphs[:10], *glyphs[10::30]}), 10)
    assert chosen == list(glyphs[:10])
    assert reached == sorted(reached, reverse=True)


def test_the_choice_ends_before_two_are_too_close() -> None:
    chosen, reached = choose_glyphs(["A", "Α", "А", "B", "В"], 5)
    assert chosen[0] == "A"
    assert chosen[1] in "BВ"
    assert len(chosen) == len(reached) == 2


# ------------------------------------------------------------------------------------------ one glyph


def test_masks_have_the_holes_and_the_parts_of_the_glyph() -> None:
    for glyph, parts, holes in (("A", 1, 1), ("B", 1, 2), ("ж", 1, 0), ("÷", 3, 0)):
        mask = dejavu_mask(glyph, 0)
        assert max(mask.shape) in (71, 72, 73)
        _, hierarchy = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        inner = int((hierarchy[0, :, 3] >= 0).sum())
        assert (len(hierarchy[0]) - inner, inner) == (parts, holes), glyph


def test_weights_are_clearly_different() -> None:
    areas = [(dejavu_mask("A", weight) > 127).sum() for weight in range(3)]
    assert areas[0] * 1.15 < areas[1] < areas[2] / 1.1


# --------------------------------------------------------------------------------------- whole datasets


def test_names_are_short_unique_file_names() -> None:
    classes = choose_classes(1203)
    assert len(set(classes.names)) == 1203
    for glyph, name, definition in zip(classes.glyphs, classes.names, classes.definitions, strict=True):
        assert re.fullmatch(r"u[0-9a-f]{4,5}_[a-z0-9_]+", name)
        assert len(name) < 90
        assert unicodedata.name(glyph) in definition
    assert choose_classes(300).names == classes.names[:300]


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("balanced") / "set"
    write_mini_lvis(root, **BALANCED, progress=False)
    return root


def read(root: Path, split: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / f"mini_lvis_{split}.json").read_text())
    return content


def image_counts(data: dict[str, Any]) -> Counter[int]:
    return Counter(c for c, _ in {(a["category_id"], a["image_id"]) for a in data["annotations"]})


def test_80_balanced_classes_are_in_the_same_number_of_images(balanced: Path) -> None:
    for split, images in (("train", 5), ("val", 2)):
        assert image_counts(read(balanced, split)) == dict.fromkeys(range(1, 81), images)
    categories = read(balanced, "val")["categories"]
    assert {(category["frequency"], category["image_count"]) for category in categories} == {("r", 5)}
    assert (balanced / "contact_sheet.png").exists()


def test_segmentations_of_many_glyphs_agree_with_boxes_and_areas(balanced: Path) -> None:
    ratios, gaps = [], []
    for annotation in read(balanced, "train")["annotations"]:
        mask = mask_util.decode(mask_util.merge(mask_util.frPyObjects(annotation["segmentation"], 96, 96)))
        ratios.append(mask.sum() / annotation["area"])
        x, y, width, height = annotation["bbox"]
        rows, columns = np.nonzero(mask)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        gaps.append(np.abs(np.subtract(edges, [x, y, x + width, y + height])).max())
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)
    assert np.mean(gaps) < 0.5
    assert max(gaps) < 3  # the tip of an arrow or a star is narrower than a pixel


def test_the_set_is_reused_and_not_mixed_with_other_settings(balanced: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in balanced.rglob("*")}
    write_mini_lvis(balanced, **BALANCED, progress=False)
    assert {path: path.stat().st_mtime_ns for path in balanced.rglob("*")} == before
    with pytest.raises(LtDetError, match=r"\(ratio 1\.0, not 5\.0\)"):
        write_mini_lvis(balanced, **{**BALANCED, "ratio": 5}, progress=False)
    with pytest.raises(LtDetError, match=r"imbalance step, not None"):
        write_mini_lvis(balanced, **{**BALANCED, "imbalance": None, "ratio": None, "num_train": 1000}, progress=False)


def test_a_ratio_needs_an_imbalance(tmp_path: Path) -> None:
    with pytest.raises(LtDetError, match=r"ratio 10 .*imbalance"):
        write_mini_lvis(tmp_path / "set", ratio=10, progress=False)
    assert not (tmp_path / "set").exists()
