"""What is harmless in one record is an error of the file when many records share it."""

import copy
import re

import numpy as np
import pytest

from lt_det.errors import LtDetError
from lt_det.io.annotations.checks import check_annotations, find_problems
from lt_det.io.annotations.fields import normalized_annotations

BOXES = [(60.0 + 3 * i, 20.0 + i, 30.0, 20.0) for i in range(20)]  # in 160 x 90 pixels


def document(boxes=BOXES, **fields):
    """One annotation per box; a field is a value or a function of the number of the annotation."""
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": list(box)}
        | {key: value(i) if callable(value) else value for key, value in fields.items()}
        for i, box in enumerate(boxes)
    ]
    images = [{"id": 1, "width": 160, "height": 90, "file_name": "a.jpg"}]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}


def square(x, y):
    return [x, y, x + 20, y, x + 20, y + 20, x, y + 20]


MISTAKES = {
    "corners": (document([(x, y, x + w, y + h) for x, y, w, h in BOXES]), r"exceed their image.*corners"),
    "centers": (
        document([(x, 79.0, 20.0, 20.0) for x, *_ in BOXES]),
        "exceed their image.*center",
    ),
    "fractions": (
        document([(x / 160, y / 90, w / 160, h / 90) for x, y, w, h in BOXES]),
        "20 of 20 boxes.*fractions of the image",
    ),
    "swapped sizes": (document([(5.0, 100.0, 30.0, 40.0)] * 20), "'width' and 'height'.*swapped"),
    "y first": (
        document([(y, x, h, w) for x, y, w, h in BOXES] + [(5.0, 100.0, 9.0, 40.0)]),
        r"y first \(\[y, x, height, width\]\), or 'width'",
    ),
    "corners y first": (
        document([(y, x, y + h, x + w) for x, y, w, h in BOXES]),
        r"exceed their image: they are corners \[y1, x1, y2, x2\]",
    ),
    "another resolution": (document([(x * 4, y * 4, w * 4, h * 4) for x, y, w, h in BOXES]), "different resolutions"),
    "no area": (
        document([(*box[:2], 0, 0) if i < 3 else box for i, box in enumerate(BOXES)]),
        "3 of 20 boxes.*no area",
    ),
    "crowds": (document(iscrowd=1), "20 of 20 annotations have 'iscrowd' 1"),
    "half of them": (document(iscrowd=lambda i: i % 2), "10 of 20 annotations have 'iscrowd' 1"),
    "ignored": (document(ignore=True), "20 of 20 annotations have 'ignore' 1"),
    "pairs": (document(segmentation=[[[1, 2], [3, 4], [5, 6]]][0]), "20 of 20 segmentations.*pairs"),
    "odd": (
        document(segmentation=lambda i: [square(5, 5)] if i > 2 else [[1, 2, 3]]),
        "3 of 20 segmentations.*list of polygons",
    ),
    "polygons as fractions": (document(segmentation=[[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]]), "20 of 20 segmentations"),
    "rle": (document(segmentation={"size": [90, 160], "counts": [5]}), "20 of 20 segmentations.*RLE"),
    "lists of rle": (
        document(segmentation=[{"size": [90, 160], "counts": [14400]}]),
        "20 of 20 segmentations.*without a list around it",
    ),
    "size of rle": (
        document(segmentation={"size": [160, 90], "counts": [14400]}),
        "annotation 0: the RLE has the 'size'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_many_are_an_error_that_names_the_format(mistake):
    data, message = MISTAKES[mistake]
    with pytest.raises(LtDetError, match=rf"^set\.json: .*{message}"):
        check_annotations(normalized_annotations(data, "set.json"), "set.json")


@pytest.mark.parametrize(
    "data",
    [
        document(),
        document([(x - 70 if i < 6 else x, y, w, h) for i, (x, y, w, h) in enumerate(BOXES)]),  # whole objects, cut off
        document(iscrowd=lambda i: int(i < 2)),
        document(iscrowd=lambda i: int(i < 6)),  # as in a set of pedestrians
        document(segmentation=lambda i: [square(5, 5)] if i > 1 else [[1, 2, 3]]),
        document([(*box[:2], 0, 5) if i < 2 else box for i, box in enumerate(BOXES)]),
        document(BOXES[:2], iscrowd=1),
        document([(0, 0, 1, 1)] * 9),
        document(area=0),
    ],
)
def test_few_are_not(data):
    assert not any(problem.fatal for problem in find_problems(data, "x"))


SIZES = [(1920, 1080), (1280, 720), (4000, 3000)]


def photographs(write, sizes=SIZES, number=60, seed=0):
    """Images of some sizes, with three boxes each, given as fractions and the size of their image to `write`."""
    rng = np.random.default_rng(seed)
    data = document([])
    data["images"], data["annotations"] = [], []
    for image in range(number):
        width, height = sizes[image % len(sizes)]
        data["images"].append({"id": image, "width": width, "height": height, "file_name": f"{image}.jpg"})
        for _ in range(3):
            size = rng.uniform(0.02, 0.3, 2)
            box = write(np.array([*(rng.random(2) * (1 - size)), *size]), np.array([width, height] * 2))
            annotation = {"id": len(data["annotations"]), "image_id": image, "category_id": 1, "bbox": box.tolist()}
            data["annotations"].append(annotation)
    return data


@pytest.mark.parametrize(
    ("write", "sizes", "message"),
    [
        (lambda box, side: box * 100, SIZES, "images of 180 of them are .* percent of the image"),
        (lambda box, side: box * 100, SIZES[:1], "percent of the image"),
        (lambda box, side: box * 1000, SIZES, "images of 60 of them are .* thousandths of the image"),
        (lambda box, side: box * 640, SIZES, "6[0-9]{2} pixels to the right .* the pixels of resized images"),
        (lambda box, side: np.append((box * side)[:2], box[2:]), SIZES, "180 of 180 boxes are at most one pixel"),
        (lambda box, side: np.append((box * side)[:2], [1, 1]), SIZES, "180 of 180 boxes .* may be points"),
    ],
)
def test_boxes_on_another_canvas_are_doubted(write, sizes, message, caplog):
    check_annotations(photographs(write, sizes), "set.json", accept_many=True)
    assert re.search(message, caplog.text)


@pytest.mark.parametrize(
    "data",
    [
        photographs(np.multiply),
        photographs(np.multiply, number=3),
        photographs(np.multiply, [(90, 60), (64, 64), (200, 120)]),  # small images
        photographs(np.multiply, [(640, 480)] * 9 + [(6000, 400)]),  # one in ten is a panorama
        photographs(lambda box, side: box * side * 0.3, [(1920, 1080)]),  # a camera of which one corner is annotated
        photographs(lambda box, side: np.append((box * side)[:2], [2, 2])),  # tiny objects
        photographs(lambda box, side: box * 100, number=4),  # too few
    ],
)
def test_boxes_in_pixels_are_not_doubted(data, caplog):
    check_annotations(data, "set.json")
    assert not caplog.text


@pytest.mark.parametrize("area", [1.0, 600 / (160 * 90), 6000])
def test_areas_that_are_not_those_of_the_boxes_are_named(area, caplog):
    check_annotations(document(area=lambda i: area if i % 2 else 400), "set.json")
    assert "10 of 20 annotations have an 'area' that does not fit" in caplog.text
    caplog.clear()
    check_annotations(document(area=lambda i: area if i < 9 else 30), "set.json")
    assert not caplog.text


@pytest.mark.parametrize(("box", "area"), [((5, 5, 1400, 800), 2000), ((5, 5, 2, 2), 9)])
def test_areas_of_wires_and_of_tiny_objects_are_right(box, area, caplog):
    """A wire covers little of its box, and a mask of 3 x 3 pixels has polygons, and a box, of 2 x 2."""
    data = document([(box[0] + i, *box[1:]) for i in range(20)], area=area)
    data["images"][0] |= {"width": 1600, "height": 900}
    check_annotations(data, "set.json")
    assert not caplog.text


def test_an_image_with_several_unknown_categories_is_named_once():
    data = document()
    data["images"][0]["neg_category_ids"] = [1, 5, 6, 7]
    with pytest.raises(LtDetError, match=r"image 1: 'neg_category_ids' lists category 5 \(and 2 more\)") as refusal:
        check_annotations(data, "set.json")
    assert "likewise" not in str(refusal.value)


def test_flags_and_areas_of_many_are_named(caplog):
    check_annotations(document(iscrowd=lambda i: int(i < 6), area=0), "set.json")
    assert "6 of 20 annotations have 'iscrowd' 1" in caplog.text
    assert "20 of 20 annotations have 'area' 0" in caplog.text
    assert ["repairs" in record.getMessage() for record in caplog.records] == [False, True]


def test_two_images_with_one_file(caplog):
    data = document()
    data["images"].append({**data["images"][0], "id": 2})
    check_annotations(data, "set.json")
    assert "images 1 and 2 are one file a.jpg" in caplog.text


def test_flat_polygons_of_all_records(caplog):
    data = document(segmentation=lambda i: square(60 + 3 * i, 20 + i))
    before = copy.deepcopy(data)
    found = normalized_annotations(data, "x")
    assert not list(find_problems(found, "x"))
    assert "20 segmentations" in caplog.text
    assert data == before


@pytest.mark.parametrize(("repeated", "reported"), [(0, False), (2, False), (3, True), (20, True)])
def test_objects_that_are_annotated_twice(repeated, reported, caplog):
    """As by two annotators, or by a merge of two exports; the ids differ."""
    check_annotations(document([*BOXES, *BOXES[:repeated]], iscrowd=0), "set.json")
    assert (f"{repeated} of {20 + repeated} annotations repeat another one" in caplog.text) == reported
    assert bool(caplog.records) == reported


def test_objects_that_only_look_alike(caplog):
    """The same box of another category or in another image, and crowd regions."""
    data = document(BOXES * 2, category_id=lambda i: 1 + i // 20)
    data["categories"].append({"id": 2, "name": "mug"})
    check_annotations(data, "set.json")
    data = document(BOXES * 2, image_id=lambda i: 1 + i // 20)
    data["images"].append(data["images"][0] | {"id": 2, "file_name": "b.jpg"})
    check_annotations(data, "set.json")
    check_annotations(document([*BOXES, *[(0, 0, 160, 90)] * 3], iscrowd=lambda i: int(i >= 20)), "set.json")
    assert "repeat" not in caplog.text


@pytest.mark.parametrize(
    ("supercategories", "reported"),
    [(("none", "things"), True), (("none", None), False), (("things", "cup"), False), (("things", "elsewhere"), False)],
)
def test_a_category_that_is_a_heading(supercategories, reported, caplog):
    """The first one of an export of Roboflow is the name of the project."""
    data = document()
    names = zip(("things", "cup"), supercategories, strict=True)
    data["categories"] = [{"id": k, "name": name, "supercategory": above} for k, (name, above) in enumerate(names)]
    check_annotations(data, "set.json")
    assert (
        "category 'things' has no annotation and is the 'supercategory' of 1 other category" in caplog.text
    ) == reported
    assert bool(caplog.records) == reported


def test_a_heading_that_is_annotated_is_a_class(caplog):
    data = document(category_id=lambda i: i % 2)
    data["categories"] = [{"id": 0, "name": "animal"}, {"id": 1, "name": "dog", "supercategory": "animal"}]
    check_annotations(data, "set.json")
    assert not caplog.text
