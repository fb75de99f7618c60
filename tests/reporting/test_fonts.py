"""Letters that matplotlib's font lacks: another installed font draws them, or one line says that none does."""

import cv2
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image, ImageDraw

from lt_det.reporting import fonts
from lt_det.reporting.charts.class_counts import plot_class_counts
from lt_det.reporting.fonts import FONT, font_runs, report_missing_letters
from lt_det.reporting.overlays import draw_text, font_for, text_size
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

LETTER = "語"


@pytest.fixture
def no_fallback(monkeypatch):
    """As on a machine without another font, whatever is installed here."""
    monkeypatch.setattr(fonts, "_reported", set())
    monkeypatch.setattr(fonts, "_FALLBACKS", ())
    forget()
    yield
    forget()


@pytest.fixture
def fallback(tmp_path, monkeypatch):
    """A font with one letter, a black square as wide as the letter is high."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(LETTER): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "Unifont", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000, usWinAscent=1000)
    builder.setupPost()
    builder.save(tmp_path / "unifont.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    monkeypatch.setattr(fonts, "_reported", set())
    monkeypatch.setattr(fonts, "_FALLBACKS", ("Unifont",))
    font_manager.fontManager.addfont(tmp_path / "unifont.ttf")
    forget()
    yield tmp_path / "unifont.ttf"
    forget()


def forget():
    for cached in (fonts.fallback_fonts, fonts._font_of, fonts._letters):
        cached.cache_clear()
    font_manager.fontManager._findfont_cached.cache_clear()


def test_runs(fallback):
    assert font_runs(f"a {LETTER}b") == [(FONT, "a "), (fallback, LETTER), (FONT, "b")]


def test_one_line_says_so(no_fallback, caplog):
    for _ in range(3):
        report_missing_letters([f"ab{LETTER}", "日本\U0001faa8 한국어"])
    assert len(caplog.messages) == 1
    assert f"{LETTER} (U+8A9E)" in caplog.text


def plot(folder, caplog, monkeypatch):
    stats = ClassStats((f"{LETTER} cup", "b"), np.array([3, 300]), np.array([3, 400]), 300, "train.json")
    plot_class_counts(stats, FrequencyBuckets.from_edges(stats), folder / "a.png", title=f"{LETTER * 8}.json")
    return cv2.imread(str(folder / "a.png"), cv2.IMREAD_GRAYSCALE)


def test_bitmap_without_a_font(no_fallback, tmp_path, caplog, monkeypatch, recwarn):
    plot(tmp_path, caplog, monkeypatch)
    assert len(caplog.messages) == 1
    assert not recwarn.list


def test_bitmap_with_a_font(fallback, tmp_path, caplog, monkeypatch, recwarn):
    dark = plot(tmp_path, caplog, monkeypatch)[:60] < 60
    assert not caplog.messages
    assert not recwarn.list
    assert dark.sum(axis=1).max() > 100  # eight squares in the title


def test_label_on_an_image(fallback):
    canvas = Image.new("RGB", (300, 60), "white")
    font = font_for(canvas.size)
    text = f"a{LETTER}b"
    assert text_size(text, font)[0] > text_size("ab", font)[0] + font.size * 0.9
    draw_text(ImageDraw.Draw(canvas), (5, 5), text, "#000000", font)
    dark = np.asarray(canvas.convert("L")) < 60
    assert dark.sum() > 0.9 * font.size**2
    assert not dark[40:].any()


def test_control_characters_of_a_label():
    canvas = Image.new("RGB", (300, 60), "white")
    draw_text(ImageDraw.Draw(canvas), (5, 5), "\x1b[31m\ud800", "#000000", font_for(canvas.size))
    assert text_size("\ud800", font_for(canvas.size))[0] > 0
