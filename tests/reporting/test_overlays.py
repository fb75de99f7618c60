"""Detections drawn on images."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from lt_det.reporting.bucket_style import NO_BUCKET, bucket_styles, class_styles
from lt_det.reporting.overlays import draw_box, overlap, place_labels
from lt_det.reporting.visualizer import Detections, DetectionVisualizer
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

NAMES = ("rare one", "common one", "frequent one")
STATS = ClassStats(NAMES, np.array([3, 50, 500]), None, 600, "test")
BUCKETS = FrequencyBuckets.from_edges(STATS)
COLORS = [ImageColor.getrgb(style.color) for style in bucket_styles(BUCKETS.names).values()]
IMAGE = np.full((700, 900, 3), 255, np.uint8)


def test_a_bucket_looks_the_same_beside_unseen():
    for names in (["rare", "common", "frequent"], [f"group{group}" for group in range(7)]):
        alone, beside = bucket_styles(names), bucket_styles(["unseen", *names])
        assert {name: beside[name] for name in names} == alone
        assert len(set(beside.values())) == len(names) + 1


def detections(*boxes_and_classes, masks=None):
    boxes = np.array([box for box, _ in boxes_and_classes], np.float32).reshape(-1, 4)
    classes = np.array([index for _, index in boxes_and_classes], np.int64)
    return Detections(boxes, np.linspace(0.9, 0.5, len(classes), dtype=np.float32), classes, masks)


@pytest.mark.parametrize("index", range(3))
def test_a_box_has_the_color_of_its_bucket_in_the_reports(index):
    drawn = DetectionVisualizer(NAMES, BUCKETS).draw(IMAGE, detections(([100, 200, 300, 400], index)))
    for x, y in ((280, 200), (200, 400), (100, 300), (300, 300)):
        assert tuple(drawn[y, x]) == COLORS[index]
    assert tuple(drawn[300, 200]) == (255, 255, 255)


def test_classes_of_one_bucket_have_colors_of_their_own():
    """Also where the other buckets are empty, or the buckets are not known."""
    box = [100, 200, 300, 400]
    for edges in ([1, 2], []):
        buckets = FrequencyBuckets.from_edges(STATS, edges=edges) if edges else None
        visualizer = DetectionVisualizer(NAMES, buckets)
        assert len({visualizer.bucket_name(k) for k in range(3)}) == 1
        drawn = [visualizer.draw(IMAGE, detections((box, k))) for k in range(3)]
        assert len({tuple(image[400, 200]) for image in drawn}) == 3
        legend = drawn[0][IMAGE.shape[0] :]
        assert ImageColor.getrgb(NO_BUCKET.color) in {tuple(map(int, pixel)) for pixel in legend.reshape(-1, 3)}
        assert not set(COLORS) & {tuple(map(int, pixel)) for pixel in legend.reshape(-1, 3)}


def test_styles_of_many_classes():
    styles = [(style.color, style.symbol) for style in class_styles(65)]
    assert len(set(styles)) == 64
    assert styles[64] == styles[0]
    assert len({color for color, _ in styles[:8]}) == 8


def test_a_class_in_no_bucket_is_gray():
    buckets = FrequencyBuckets.from_map(STATS, {"rare one": "few"})
    assert [DetectionVisualizer(NAMES, buckets).bucket_name(k) for k in range(3)] == ["few", None, None]


def test_the_highest_score_lies_on_top():
    box = [100, 200, 300, 400]
    for first, second in ((0, 2), (2, 0)):
        drawn = DetectionVisualizer(NAMES, BUCKETS).draw(IMAGE, detections((box, first), (box, second)))
        assert tuple(drawn[300, 300]) == COLORS[first]


def test_masks_are_tinted_and_nothing_else():
    mask = np.zeros((1, *IMAGE.shape[:2]), bool)
    mask[0, 250:350, 150:250] = True
    drawn = DetectionVisualizer(NAMES, BUCKETS).draw(IMAGE, detections(([100, 200, 300, 400], 2), masks=mask))
    expected = 0.6 * 255 + 0.4 * np.array(COLORS[2])
    np.testing.assert_allclose(drawn[300, 200], expected, atol=1)
    assert tuple(drawn[220, 120]) == (255, 255, 255)


def test_small_images_are_enlarged_and_all_frames_have_one_even_size():
    visualizer = DetectionVisualizer(NAMES, BUCKETS)
    some = visualizer.draw(np.zeros((145, 101, 3), np.uint8), detections(([10, 10, 60, 90], 0)))
    none = visualizer.draw(np.zeros((145, 101, 3), np.uint8), detections())
    assert some.shape == none.shape
    assert some.shape[0] >= 4 * 145
    assert some.shape[1] == 4 * 101
    large = visualizer.draw(np.zeros((701, 901, 3), np.uint8), detections())
    assert [side % 2 for side in (*some.shape[:2], *large.shape[:2])] == [0, 0, 0, 0]
    assert large.shape[1] == 902  # not enlarged


def test_many_buckets_take_more_lines_of_the_legend():
    groups = FrequencyBuckets(tuple(f"group{k}" for k in range(12)), np.array([0, 5, 11]))
    heights = [DetectionVisualizer(NAMES, buckets).draw(IMAGE, detections()).shape[0] for buckets in (BUCKETS, groups)]
    assert heights[1] > heights[0]


def test_labels_of_one_object_do_not_overlap_and_stay_in_the_image():
    labels = place_labels([(200, 200, 300, 300)] * 8 + [(-20, -5, 30, 30)], [(120, 18)] * 9, (900, 700))
    for place, label in enumerate(labels):
        assert not any(overlap(label, other) for other in labels[:place])
        assert label[0] >= 0
        assert label[1] >= 0


def test_odd_boxes_and_names_are_drawn():
    names = ("чашка", "a" * 300, "")
    boxes = detections(([-50, -50, 2000, 2000], 0), ([10, 10, 10, 10], 1), ([899, 699, 900, 700], 2), ([9, 9, 3, 3], 0))
    DetectionVisualizer(names, BUCKETS).draw(IMAGE, boxes)


def test_a_dashed_box_has_gaps_on_every_side_and_a_halo_around_it():
    canvas = Image.new("RGB", (120, 100), "#808080")
    draw_box(canvas, (20, 30, 90, 80), "#ff0000", 2, halo="#000000", dashes=(7, 4))
    pixels = np.asarray(canvas)
    red, black = (255, 0, 0), (0, 0, 0)
    for line in (pixels[30, 20:91], pixels[80, 20:91], pixels[30:81, 20], pixels[30:81, 90]):
        colors = {tuple(int(value) for value in pixel) for pixel in line}
        assert colors == {red, black}
    assert tuple(pixels[29, 19]) == black
    assert tuple(pixels[50, 50]) == (128, 128, 128)
