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

from lt_det.datasets.mini_lvis import glyph_selection
from lt_det.datasets.mini_lvis.dejavu import dejavu_glyphs, dejavu_mask
from lt_det.datasets.mini_lvis.generate import write_mini_lvis
from lt_det.datasets.mini_lvis.glyph_selection import CLOSEST, choose_glyphs, fingerprints, one_way_distances
from lt_det.datasets.mini_lvis.glyphs import choose_classes
from lt_det.errors import LtDetError

BALANCED = {"num_train": 80, "num_val": 40, "num_classes": 80, "imbalance": "step", "ratio": 1, "image_size": 96}


def distance(glyph: str, other: str) -> float:
    """D, which is symmetric: each of the two in its variants against the other one upright."""
    pairs = ((glyph, other), (other, glyph))
    return min(float(one_way_distances(varied, fingerprints(upright))[0]) for varied, upright in pairs)


# ------------------------------------------------------------------------------------------ the choice


def test_there_are_as_many_glyphs_as_lvis_has_classes() -> None:
    assert len(set(dejavu_glyphs())) == len(dejavu_glyphs()) == 1203


def test_no_two_glyphs_are_closer_than_the_limit() -> None:
    """Every fifteenth glyph in its variants against all others, whether they were chosen before it or after it."""
    glyphs = dejavu_glyphs()
    upright = fingerprints(glyphs)
    for place in range(0, len(glyphs), 15):
        others = np.delete(one_way_distances(glyphs[place], upright), place)
        assert others.min() > CLOSEST, glyphs[place]


def test_twins_are_closer_than_the_limit() -> None:
    """One shape in several scripts and in two sizes."""
    for glyph, twin in (("A", "Α"), ("A", "А"), ("o", "O"), ("O", "О"), ("S", "s"), ("Z", "z")):
        assert distance(glyph, twin) < CLOSEST - 1, (glyph, twin)


def test_letters_that_differ_are_farther_than_the_limit() -> None:
    for glyph, other in (("A", "B"), ("A", "H"), ("Ж", "K"), ("T", "L")):
        assert distance(glyph, other) > CLOSEST + 1, (glyph, other)


@pytest.mark.parametrize("pair", ["ƈᓟ", "Կᵘ", "ՎЧ"])
def test_of_two_glyphs_that_are_close_in_one_direction_only_one_is_chosen(pair: str) -> None:
    """In the other direction they are farther apart than the limit."""
    one_way = sorted(
        float(one_way_distances(varied, fingerprints(upright))[0]) for varied, upright in (pair, reversed(pair))
    )
    assert one_way[0] < CLOSEST - 0.5 < CLOSEST < one_way[1]
    chosen, _ = choose_glyphs(["A", *pair], 3)
    assert chosen[0] == "A"
    assert len(chosen) == 2


def test_the_first_glyphs_are_chosen_again_from_fewer_candidates() -> None:
    glyphs = dejavu_glyphs()
    chosen, reached = choose_glyphs(sorted({*glyphs[:10], *glyphs[10::30]}), 10)
    assert chosen == list(glyphs[:10])
    assert reached == sorted(reached, reverse=True)


def test_the_command_prints_a_file_of_code_points(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    glyphs = dejavu_glyphs()[:25]
    monkeypatch.setattr(glyph_selection, "candidates", lambda: sorted(glyphs))
    monkeypatch.setattr(glyph_selection, "NUM_GLYPHS", 25)
    glyph_selection.main()
    printed = capsys.readouterr().out.splitlines()
    assert [line[0] for line in printed[:2]] == ["#", "#"]
    assert [chr(int(code, 16)) for line in printed[2:] for code in line.split()] == list(glyphs)
    assert len(printed[2].split()) == 20
    monkeypatch.setattr(glyph_selection, "NUM_GLYPHS", 26)
    with pytest.raises(LtDetError, match="25 of 26"):
        glyph_selection.main()


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


def test_a_set_of_glyphs_that_were_chosen_before_is_not_reused(balanced: Path, tmp_path: Path) -> None:
    """The glyphs of more than 62 classes were chosen again, with another result, in recipe 2."""
    data = read(balanced, "train")
    assert data["info"]["mini_lvis"]["recipe"] == 2
    data["info"]["mini_lvis"]["recipe"] = 1
    (tmp_path / "mini_lvis_train.json").write_text(json.dumps(data))
    with pytest.raises(LtDetError, match=r"\(recipe 1, not 2\)"):
        write_mini_lvis(tmp_path, **BALANCED, progress=False)


def test_a_ratio_needs_an_imbalance(tmp_path: Path) -> None:
    with pytest.raises(LtDetError, match=r"ratio 10 .*imbalance"):
        write_mini_lvis(tmp_path / "set", ratio=10, progress=False)
    assert not (tmp_path / "set").exists()
