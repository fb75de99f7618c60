"""Pixels covered by compressed RLE, against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from lt_det.io.rle import covered_pixels


@pytest.fixture(scope="module")
def masks():
    """Noise, which has short runs; rectangles; empty and full masks."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(400):
        mask = np.full(rng.integers(1, 200, 2), index % 4 == 1)
        if index % 4 == 0:
            mask = rng.random(mask.shape) < rng.random()
        elif index % 4 == 2:
            y, x = rng.integers(mask.shape)
            mask[y : y + 50, x : x + 60] = True
        made.append(mask_utils.encode(np.asfortranarray(mask.astype(np.uint8))))
    return made


def test_whole_masks(masks):
    sizes = [np.prod(mask["size"]) for mask in masks]
    assert covered_pixels([mask["counts"] for mask in masks]).tolist() == sizes
    assert covered_pixels([mask["counts"].decode() for mask in masks]).tolist() == sizes


def test_truncated_masks_and_their_neighbors(masks):
    cut = [mask["counts"][:-1] for mask in masks]
    mixed = [counts for mask, half in zip(masks, cut, strict=True) for counts in (half, mask["counts"])]
    covered = covered_pixels(mixed)
    assert covered[1::2].tolist() == [np.prod(mask["size"]) for mask in masks]
    assert not (covered[::2] == covered[1::2]).any()
    assert covered[::2].tolist() == covered_pixels(cut).tolist()


@given(st.lists(st.integers(0, 2**29 - 1), min_size=1, max_size=9), st.integers(0, 60))
def test_any_runs(runs, height):
    """pycocotools compresses any runs, whether they fill the mask or not; longer runs would overflow its buffer."""
    counts = mask_utils.frPyObjects({"size": [height, 5], "counts": runs}, height, 5)["counts"]
    assert covered_pixels(["5", counts, b"", counts]).tolist() == [5, sum(runs), 0, sum(runs)]


def test_a_large_mask():
    """An empty mask of 60,000 x 60,000 pixels, as pycocotools encodes it."""
    assert covered_pixels(["PPYWY[3"]).tolist() == [3_600_000_000]


@pytest.mark.parametrize("counts", ["garbage!!", "~~~~", "é漢", "P", "PPPPPPPPPPPP0", "O", "5O"])
def test_invalid_rle(counts):
    assert covered_pixels(["5", counts, "7"]).tolist() == [5, -1, 7]


def test_none():
    assert covered_pixels([]).tolist() == []
