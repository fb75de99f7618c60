"""The contact sheet of `mini_lvis`: some of its images with their objects, and a chart of the class counts.

It is drawn with OpenCV, so images are height x width x 3 uint8 arrays in blue-green-red order.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lt_det.datasets.mini_lvis.counts import FREQUENCY_NAMES
from lt_det.datasets.mini_lvis.scenes import Image, Polygon
from lt_det.errors import LtDetError, writing_advice
from lt_det.io.atomic import write_atomically

__all__ = ["BUCKET_COLORS", "write_contact_sheet"]

# Okabe and Ito's #D55E00, #E69F00 and #0072B2, here in blue-green-red order.
BUCKET_COLORS = {"r": (0x00, 0x5E, 0xD5), "c": (0x00, 0x9F, 0xE6), "f": (0xB2, 0x72, 0x00)}

_SHEET_IMAGES = 24
# All sizes are in pixels; a tile is an image resized to a square.
_TILE, _GAP, _MARGIN, _COLUMNS = 216, 10, 28, 6
_PAPER, _INK, _FAINT = (255, 255, 255), (45, 40, 36), (150, 145, 140)
_CHART_HEIGHT = 150


@dataclass(frozen=True)
class _Tile:
    """One image of the contact sheet, in BGR order, and its objects as (frequency, bbox xywh, polygons)."""

    image: Image
    objects: list[tuple[str, list[float], list[Polygon]]]


def write_contact_sheet(root: Path, out_png: Path) -> None:
    """Draw 24 training images with their objects in bucket colors, and a chart of the class counts.

    Args:
        root: folder of a dataset written by `write_mini_lvis`.
        out_png: file to write.

    Raises:
        LtDetError: `root` holds no such dataset, or the file cannot be written.
    """
    source = Path(root) / "mini_lvis_train.json"
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
        categories: dict[int, dict[str, Any]] = {category["id"]: category for category in data["categories"]}
        by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
        for annotation in data["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        # An object left without annotation on purpose would look like a mistake.
        complete = {image["id"] for image in data["images"] if not image["not_exhaustive_category_ids"]}
        frequency_of = {number: category["frequency"] for number, category in categories.items()}
        file_names = {image["id"]: image["file_name"] for image in data["images"]}
        tiles = []
        for number in _choose_images({k: by_image[k] for k in sorted(complete)}, frequency_of):
            objects = [(frequency_of[a["category_id"]], a["bbox"], a["segmentation"]) for a in by_image[number]]
            image = cv2.imdecode(np.fromfile(Path(root) / file_names[number], np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError(f"{file_names[number]} is not an image")
            tiles.append(_Tile(image.astype(np.uint8), objects))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LtDetError(f"{root} holds no complete mini_lvis dataset to draw a contact sheet of.") from error
    ranked = sorted(categories.values(), key=lambda category: (-category["image_count"], category["id"]))
    bars = [(_label(category["name"]), category["image_count"], category["frequency"]) for category in ranked]
    totals = {letter: sum(bar[2] == letter for bar in bars) for letter in "fcr"}
    labels = {letter: f"{FREQUENCY_NAMES[letter]} ({total} classes)" for letter, total in totals.items()}
    title = f"mini_lvis: {len(bars)} classes, {len(by_image)} training images"
    try:
        encoded = cv2.imencode(".png", _draw_sheet(tiles, title, labels, bars), [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
        write_atomically(Path(out_png), encoded.tobytes())
    except OSError as error:
        reason, advice = error.strerror or error, writing_advice(error)
        raise LtDetError(f"The contact sheet cannot be written to {out_png} ({reason}); {advice}.") from error


# --------------------------------------------------------------------------------------- what is shown


def _choose_images(by_image: dict[int, list[dict[str, Any]]], frequency_of: dict[int, str]) -> list[int]:
    """Ids of the images to show: a third with rare classes, a third with common ones, shuffled."""
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(list(by_image)).tolist()
    chosen: list[int] = []
    for letter, wanted in (("r", _SHEET_IMAGES // 3), ("c", 2 * _SHEET_IMAGES // 3), ("f", _SHEET_IMAGES)):
        for number in shuffled:
            if len(chosen) == wanted:
                break
            shown = {frequency_of[annotation["category_id"]] for annotation in by_image[number]}
            if number not in chosen and letter in shown:
                chosen.append(number)
    return [chosen[place] for place in rng.permutation(len(chosen)).tolist()]


def _label(name: str) -> str:
    """The letter or digit of a category, from its name: `upper_a` is A. Empty for other glyphs."""
    kind, _, letter = name.partition("_")
    if kind not in ("upper", "lower", "digit"):
        return ""
    return letter.upper() if kind == "upper" else letter


# --------------------------------------------------------------------------------------------- drawing


def _draw_sheet(
    tiles: Sequence[_Tile], title: str, labels: dict[str, str], bars: Sequence[tuple[str, int, str]]
) -> Image:
    """Draw a grid of tiles over a bar chart of training images per class.

    Args:
        tiles: images with their objects.
        title: heading.
        labels: text of the legend by frequency letter.
        bars: (label, image count, frequency letter) of each class, from left to right.

    Returns:
        (h, w, 3) uint8 image in BGR order.
    """
    rows = math.ceil(len(tiles) / _COLUMNS)
    width = 2 * _MARGIN + _COLUMNS * (_TILE + _GAP) - _GAP
    grid_top = _MARGIN + 44
    chart_top = grid_top + rows * (_TILE + _GAP) + 34
    sheet = np.full((chart_top + _CHART_HEIGHT + 56, width, 3), _PAPER, np.uint8)
    _put_text(sheet, title, (_MARGIN, _MARGIN + 22), 0.8, _INK)
    x = width - _MARGIN
    for frequency in reversed(labels):
        x -= _text_width(labels[frequency], 0.55)
        _put_text(sheet, labels[frequency], (x, _MARGIN + 21), 0.55, _INK)
        x -= 26
        cv2.rectangle(sheet, (x, _MARGIN + 7), (x + 16, _MARGIN + 23), BUCKET_COLORS[frequency], -1)
        x -= 22
    for index, tile in enumerate(tiles):
        row, column = divmod(index, _COLUMNS)
        top, left = grid_top + row * (_TILE + _GAP), _MARGIN + column * (_TILE + _GAP)
        # Masks on every other tile, so that the plain images can be seen too.
        sheet[top : top + _TILE, left : left + _TILE] = _draw_tile(tile, filled=(row + column) % 2 == 1)
    _draw_chart(sheet, bars, chart_top)
    return sheet


def _draw_tile(tile: _Tile, filled: bool) -> Image:
    zoom = _TILE / tile.image.shape[0]
    image = cv2.resize(tile.image, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    if filled:
        tinted = image.copy()
        rings = [
            (
                frequency,
                [np.round(np.reshape(part, (-1, 1, 2)) * zoom * 16).astype(np.int32) for part in parts],
            )
            for frequency, _, parts in tile.objects
        ]
        for frequency, parts in rings:
            for ring in parts:
                cv2.fillPoly(tinted, [ring], BUCKET_COLORS[frequency], cv2.LINE_AA, 4)
        image = cv2.addWeighted(tinted, 0.7, image, 0.3, 0).astype(np.uint8)
        for _, parts in rings:
            cv2.polylines(image, parts, True, (255, 255, 255), 1, cv2.LINE_AA, 4)
    for frequency, bbox, _ in tile.objects:
        x, y, width, height = (round(value * zoom) for value in bbox)
        start, end = (
            (max(x - 2, 1), max(y - 2, 1)),
            (min(x + width + 1, _TILE - 2), min(y + height + 1, _TILE - 2)),
        )
        cv2.rectangle(image, start, end, (255, 255, 255), 4)
        cv2.rectangle(image, start, end, BUCKET_COLORS[frequency], 2)
    return image


def _draw_chart(sheet: Image, bars: Sequence[tuple[str, int, str]], top: int) -> None:
    """Draw bars on a log scale, with the label of each class below its bar."""
    left, right = _MARGIN + 44, sheet.shape[1] - _MARGIN
    bottom = top + _CHART_HEIGHT
    decades = math.log10(max(count for _, count, _ in bars)) + 0.1
    _put_text(sheet, "training images per class (log scale)", (_MARGIN, top - 12), 0.5, _INK)
    for exponent in range(int(decades) + 1):
        y = bottom - round(_CHART_HEIGHT * exponent / decades)
        cv2.line(sheet, (left, y), (right, y), (225, 222, 220), 1)
        power = str(10**exponent)
        _put_text(sheet, power, (left - 10 - _text_width(power, 0.42), y + 5), 0.42, _FAINT)
    step = (right - left) / len(bars)
    gap = 0.15 if step >= 10 else 0.0  # of thin bars, rounding would show some gaps and not others
    for index, (label, count, frequency) in enumerate(bars):
        x = left + index * step
        height = round(_CHART_HEIGHT * math.log10(count) / decades)
        cv2.rectangle(
            sheet,
            (round(x + gap * step), bottom - height),
            (round(x + (1 - gap) * step), bottom),
            BUCKET_COLORS[frequency],
            -1,
        )
        _put_text(sheet, label, (round(x + (step - _text_width(label, 0.5)) / 2), bottom + 20), 0.5, _INK)


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])


def _put_text(sheet: Image, text: str, origin: tuple[int, int], scale: float, color: tuple[int, int, int]) -> None:
    cv2.putText(sheet, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
