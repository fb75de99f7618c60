"""The generated dataset: exact counts, exact segmentations, correct federated lists, safe rewriting."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import lvis
import lvis.eval
import numpy as np
import pycocotools.mask as mask_util
import pytest

from lt_det.datasets.mini_lvis import counts, generate, plan, scenes
from lt_det.datasets.mini_lvis.contact_sheet import BUCKET_COLORS, write_contact_sheet
from lt_det.datasets.mini_lvis.generate import MiniLvis, write_mini_lvis
from lt_det.datasets.mini_lvis.hershey import random_hershey_mask
from lt_det.datasets.mini_lvis.scenes import draw_scene
from lt_det.errors import LtDetError

SIZES = {"num_train": 400, "num_val": 40, "num_classes": 12, "seed": 3, "image_size": 96}
SMALLEST = {"num_train": 210, "num_val": 10, "num_classes": 12, "seed": 0, "image_size": 64}
SPLITS = ("train", "val")


class Made:
    """A written dataset, and the glyphs in each image as they were drawn."""

    def __init__(self, paths: MiniLvis, drawn: list[list[str]]) -> None:
        self.paths = paths
        self.json: dict[str, Any] = {
            "train": json.loads(paths.train_json.read_text()),
            "val": json.loads(paths.val_json.read_text()),
        }
        self.drawn = {image_id: Counter(glyphs) for image_id, glyphs in enumerate(drawn, 1)}

    def by_image(self, split: str) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in self.json[split]["images"]}
        for annotation in self.json[split]["annotations"]:
            found[annotation["image_id"]].append(annotation)
        return found

    def image_counts(self, split: str) -> dict[int, int]:
        counts: Counter[int] = Counter()
        for annotations in self.by_image(split).values():
            counts.update({annotation["category_id"] for annotation in annotations})
        return counts

    def glyph_of(self) -> dict[int, str]:
        """Character of each category id, from the category names."""
        names = {category["id"]: category["name"] for category in self.json["train"]["categories"]}
        return {n: name[-1].upper() if name.startswith("upper") else name[-1] for n, name in names.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    drawn: list[list[str]] = []
    original = generate.draw_scene

    def recording(rng: np.random.Generator, glyphs: Sequence[str], *rest: Any) -> Any:
        drawn.append(list(glyphs))
        return original(rng, glyphs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "draw_scene", recording)
        paths = write_mini_lvis(tmp_path_factory.mktemp("mini") / "set", **SIZES, progress=False)
    return Made(paths, drawn)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def annotation_mask(annotation: dict[str, Any], size: int) -> np.ndarray:
    rles = mask_util.frPyObjects(annotation["segmentation"], size, size)
    return np.asarray(mask_util.decode(mask_util.merge(rles)))


# ----------------------------------------------------------------------------------------------- counts


def test_each_class_has_exactly_its_number_of_training_images(made: Made) -> None:
    head, last = 200, 11
    wanted = [round(head * (3 / head) ** (rank / last)) for rank in range(12)]
    assert sorted(made.image_counts("train").values(), reverse=True) == wanted


def test_default_sizes_fill_the_buckets_as_documented() -> None:
    train = counts.train_counts(4000, 62, None)
    assert (train[0], train[-1], len(train)) == (2000, 3, 62)
    assert Counter(map(counts.frequency, train)) == {"r": 12, "c": 21, "f": 29}
    val = counts.val_counts(train, 400, None)
    assert min(val) >= 10
    assert max(val) < 8 * min(val)  # in training it is 2000 to 3
    assert 4 < sum(train) / 4000 < 6
    assert 4 < sum(val) / 400 < 6


def test_bucket_edges_are_those_of_lvis() -> None:
    assert [counts.frequency(count) for count in (1, 10, 11, 100, 101)] == ["r", "r", "c", "c", "f"]


@pytest.mark.parametrize("num_classes", range(12, 63, 5))
@pytest.mark.parametrize("num_train", [400, 401, 1000])
def test_400_images_and_12_classes_fill_the_buckets(num_train: int, num_classes: int) -> None:
    train = counts.train_counts(num_train, num_classes, None)
    counts.check_counts(train, num_train, 40, None)
    assert set(map(counts.frequency, train)) == {"r", "c", "f"}


def test_categories_carry_the_training_counts_in_both_files(made: Made) -> None:
    categories = made.json["train"]["categories"]
    assert categories == made.json["val"]["categories"]
    assert [category["id"] for category in categories] == list(range(1, 13))
    assert len({category["name"].lower() for category in categories}) == 12
    images = made.image_counts("train")
    instances = Counter(annotation["category_id"] for annotation in made.json["train"]["annotations"])
    for category in categories:
        count = images[category["id"]]
        assert category["image_count"] == count
        assert category["instance_count"] == instances[category["id"]]
        assert category["frequency"] == ("r" if count <= 10 else "c" if count <= 100 else "f")
    assert {category["frequency"] for category in categories} == {"r", "c", "f"}
    assert sum(instances.values()) > sum(images.values())  # some classes occur twice in an image


def test_class_ids_do_not_reveal_frequency(made: Made) -> None:
    counts = [category["image_count"] for category in made.json["train"]["categories"]]
    ascending = sorted(counts)
    assert ascending != counts != ascending[::-1]
    assert abs(np.corrcoef(np.arange(12), np.argsort(np.argsort(counts)))[0, 1]) < 0.7


@pytest.mark.parametrize("split", SPLITS)
def test_every_image_has_an_object(made: Made, split: str) -> None:
    assert len(made.json[split]["images"]) == SIZES[f"num_{split}"]
    assert all(made.by_image(split).values())


def test_every_class_has_enough_validation_images(made: Made) -> None:
    counts = made.image_counts("val")
    assert len(counts) == 12
    assert min(counts.values()) >= 10


def test_no_image_is_left_empty_when_objects_barely_suffice() -> None:
    classes = plan._assign(np.random.default_rng(0), [30, 60, 15], 100)
    assert Counter(index for image in classes for index in image) == {0: 30, 1: 60, 2: 15}
    assert all(classes)
    assert all(len(set(image)) == len(image) for image in classes)


# ----------------------------------------------------------------------------------------- segmentations


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_areas_and_polygons_agree(made: Made, split: str) -> None:
    size = SIZES["image_size"]
    ratios = []
    for annotation in made.json[split]["annotations"]:
        assert annotation["segmentation"]
        for polygon in annotation["segmentation"]:
            assert len(polygon) >= 6
            assert len(polygon) % 2 == 0
        points = np.concatenate([np.reshape(part, (-1, 2)) for part in annotation["segmentation"]])
        assert points.min() >= 0
        assert points.max() <= size
        x, y, width, height = annotation["bbox"]
        assert [x, y] == points.min(axis=0).tolist()
        np.testing.assert_allclose([x + width, y + height], points.max(axis=0), atol=0.011)
        # Glyphs are a quarter of the image high before scaling: none is tiny, none fills the image.
        assert 0.1 * size < max(width, height) < 0.6 * size
        mask = annotation_mask(annotation, size)
        ratios.append(mask.sum() / annotation["area"])
        rows, columns = np.nonzero(mask)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(edges, [x, y, x + width, y + height], atol=1.01)
    assert min(ratios) > 0.85
    assert max(ratios) < 1.15
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)


def test_masks_follow_the_drawn_pixels(made: Made) -> None:
    """Just inside a mask most pixels have the glyph's color, just outside few do."""
    size = SIZES["image_size"]
    ring = np.ones((3, 3), np.uint8)
    inside_right, outside_right = [], []
    for image in made.json["train"]["images"][:120]:
        if image["not_exhaustive_category_ids"]:
            continue  # an object without annotation can be anywhere
        pixels = cv2.imread(str(made.paths.image_root / image["file_name"])).astype(np.float32)
        pixels = cv2.blur(pixels, (2, 2))  # against noise
        masks = [annotation_mask(a, size) for a in made.by_image("train")[image["id"]]]
        for mask in masks:
            others = (sum(masks) - mask) > 0
            inside = (mask - cv2.erode(mask, ring)) > 0
            outside = (cv2.dilate(mask, ring, iterations=4) - cv2.dilate(mask, ring, iterations=2)) > 0
            inside, outside = inside & ~others, outside & ~others
            near, far = np.median(pixels[inside], axis=0), np.median(pixels[outside], axis=0)
            is_glyph = np.linalg.norm(pixels - near, axis=2) < np.linalg.norm(pixels - far, axis=2)
            inside_right.append(is_glyph[inside].mean())
            outside_right.append(1 - is_glyph[outside].mean())
    assert len(inside_right) > 100
    assert np.mean(inside_right) > 0.9
    assert np.mean(outside_right) > 0.95


def test_objects_hardly_overlap(made: Made) -> None:
    for split in SPLITS:
        for annotations in made.by_image(split).values():
            for first, second in combinations([np.asarray(a["bbox"]) for a in annotations], 2):
                low = np.maximum(first[:2], second[:2])
                high = np.minimum(first[:2] + first[2:], second[:2] + second[2:])
                shared = np.clip(high - low, 0, None).prod()
                assert shared / (first[2:].prod() + second[2:].prod() - shared) <= 0.15


def test_masks_leave_out_what_later_objects_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_MAX_OVERLAP", 0.5)  # many objects are hidden to a large part
    shared = covered = 0
    for seed in range(20):
        _, segmentations = draw_scene(np.random.default_rng(seed), "MW" * 5, 96, random_hershey_mask)
        masks = sum(annotation_mask({"segmentation": parts}, 96).astype(int) for parts in segmentations)
        shared += (masks > 1).sum()
        covered += (masks > 0).sum()
    assert shared < 0.02 * covered


# ------------------------------------------------------------------------------------ federated lists


@pytest.mark.parametrize("split", SPLITS)
def test_annotations_are_what_was_drawn_except_where_declared(made: Made, split: str) -> None:
    glyph_of = made.glyph_of()
    frequency = {category["id"]: category["frequency"] for category in made.json[split]["categories"]}
    incomplete = 0
    for image in made.json[split]["images"]:
        drawn = made.drawn[image["id"]]
        annotated = Counter(glyph_of[a["category_id"]] for a in made.by_image(split)[image["id"]])
        for category_id in image["not_exhaustive_category_ids"]:
            glyph = glyph_of[category_id]
            assert frequency[category_id] == "f"
            assert 1 <= annotated[glyph] < drawn[glyph]
            annotated[glyph] = drawn[glyph]
            incomplete += 1
        assert annotated == drawn
    assert incomplete == round(0.05 * SIZES[f"num_{split}"])


@pytest.mark.parametrize("split", SPLITS)
def test_negative_classes_are_absent(made: Made, split: str) -> None:
    glyph_of = made.glyph_of()
    for image in made.json[split]["images"]:
        negatives = [glyph_of[category_id] for category_id in image["neg_category_ids"]]
        assert len(negatives) == min(20, 12 - len(made.drawn[image["id"]]))
        assert len(set(negatives)) == len(negatives)
        assert not set(negatives) & set(made.drawn[image["id"]])


# ----------------------------------------------------------------------------------------- file format


@pytest.mark.parametrize("split", SPLITS)
def test_fields_are_those_of_lvis_v1(made: Made, split: str) -> None:
    data = made.json[split]
    assert set(data) == {"info", "licenses", "categories", "images", "annotations"}
    image_fields = {
        "id": int,
        "width": int,
        "height": int,
        "file_name": str,
        "coco_url": str,
        "flickr_url": str,
        "license": int,
        "date_captured": str,
        "neg_category_ids": list,
        "not_exhaustive_category_ids": list,
    }
    annotation_fields = {
        "id": int,
        "image_id": int,
        "category_id": int,
        "bbox": list,
        "area": float,
        "segmentation": list,
    }
    category_fields = {
        "id": int,
        "name": str,
        "synset": str,
        "synonyms": list,
        "def": str,
        "frequency": str,
        "image_count": int,
        "instance_count": int,
    }
    for key, fields in (
        ("images", image_fields),
        ("annotations", annotation_fields),
        ("categories", category_fields),
    ):
        for entry in data[key]:
            assert {name: type(value) for name, value in entry.items()} == fields
        assert len({entry["id"] for entry in data[key]}) == len(data[key])


@pytest.mark.parametrize("split", SPLITS)
def test_file_name_and_url_lead_to_the_image(made: Made, split: str) -> None:
    for image in made.json[split]["images"][:20]:
        path = made.paths.image_root / image["file_name"]
        assert image["coco_url"].split("/")[-2:] == [split, path.name]
        assert path.stem == f"{image['id']:012d}"
        assert cv2.imread(str(path)).shape == (image["height"], image["width"], 3)


def test_no_validation_image_is_a_training_image(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [digest for name, digest in digests(made.paths.image_root).items() if name.endswith(".jpg")]
    assert len(found) == 440
    assert len(set(found)) == 440
    seeds: list[Any] = []
    original = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: (seeds.append(seed), original(seed))[1])
    write_mini_lvis(tmp_path, **SMALLEST, progress=False)
    streams = [seed for seed in seeds if isinstance(seed, np.random.SeedSequence)]
    assert len({seed.spawn_key for seed in streams}) == len(streams) == 3
    ids = [image["id"] for split in SPLITS for image in made.json[split]["images"]]
    assert len(set(ids)) == 440


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_lvis_gives_the_annotations_themselves_an_ap_of_1(
    made: Made, iou_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # lvis 0.5.3 uses np.float, which NumPy has removed; it gets a NumPy of its own that has it.
    monkeypatch.setattr(lvis.eval, "np", SimpleNamespace(**vars(np), float=float))
    truth = lvis.LVIS(str(made.paths.val_json))
    perfect = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox", "segmentation")}, "score": 0.9}
        for a in made.json["val"]["annotations"]
    ]
    if iou_type == "bbox":
        for detection in perfect:
            del detection["segmentation"]
    evaluation = lvis.LVISEval(truth, lvis.LVISResults(truth, perfect), iou_type)
    evaluation.run()
    results = evaluation.get_results()
    assert {key: results[key] for key in ("APr", "APc", "APf")} == pytest.approx({"APr": 1.0, "APc": 1.0, "APf": 1.0})


# ----------------------------------------------------------------------------- determinism and rewriting


@pytest.mark.skipif(cv2.__version__ != "5.0.0", reason="the digests are of images drawn with OpenCV 5.0.0")
@pytest.mark.parametrize(
    ("sizes", "digest"),
    [
        (SIZES, "f817ca466de3e6882f86f2ff100cccaa84caf2aef321dd3803ed0b9d253552ea"),
        (
            {"num_train": 210, "num_val": 12, "num_classes": 62, "seed": 1, "image_size": 64},
            "c1052951feb7cc97236796cfeb9c779cafd2170d737fc2e073a9494e3aa37824",
        ),
    ],
)
def test_without_an_imbalance_the_set_is_that_of_the_first_version(
    made: Made, tmp_path: Path, sizes: dict[str, int], digest: str
) -> None:
    """Bit for bit: the digests are of the files that the version without an imbalance wrote."""
    root = made.paths.image_root
    if sizes is not SIZES:
        root = write_mini_lvis(tmp_path, **sizes, progress=False).image_root
    whole = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        whole.update(str(path.relative_to(root)).encode() + path.read_bytes())
    assert whole.hexdigest() == digest


def test_same_seed_same_bytes_other_seed_other_data(tmp_path: Path) -> None:
    for name, seed in (("first", 5), ("again", 5), ("other", 6)):
        write_mini_lvis(tmp_path / name, **{**SMALLEST, "seed": seed}, progress=False)
    first, again, other = (digests(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)
    orders = [
        [c["image_count"] for c in json.loads((tmp_path / name / "mini_lvis_val.json").read_text())["categories"]]
        for name in ("first", "other")
    ]
    assert orders[0] != orders[1]


def test_a_complete_data_set_is_reused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(generate, "draw_scene", never)
    before = digests(made.paths.image_root)
    assert write_mini_lvis(made.paths.image_root, **SIZES, progress=False) == made.paths
    assert digests(made.paths.image_root) == before


@pytest.mark.parametrize(("name", "value"), [("seed", 4), ("num_train", 401), ("image_size", 97)])
def test_other_settings_are_not_mixed_in(made: Made, name: str, value: int) -> None:
    with pytest.raises(LtDetError, match=rf"other settings \({name} {SIZES[name]}, not {value}\).*choose"):
        write_mini_lvis(made.paths.image_root, **{**SIZES, name: value}, progress=False)


def test_an_interrupted_write_is_finished_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = generate.draw_scene
    calls = 0

    def failing(rng: np.random.Generator, glyphs: Sequence[str], *rest: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 215:
            raise KeyboardInterrupt
        return original(rng, glyphs, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(generate, "draw_scene", failing)
        with pytest.raises(KeyboardInterrupt):
            write_mini_lvis(tmp_path / "broken", **SMALLEST, progress=False)
    assert not list((tmp_path / "broken").glob("mini_lvis_*.json"))
    with pytest.raises(LtDetError, match="other settings"):
        write_mini_lvis(tmp_path / "broken", **{**SMALLEST, "seed": 1}, progress=False)
    write_mini_lvis(tmp_path / "broken", **SMALLEST, progress=False)
    write_mini_lvis(tmp_path / "straight", **SMALLEST, progress=False)
    assert digests(tmp_path / "broken") == digests(tmp_path / "straight")
    # A missing file is written again, too.
    (tmp_path / "broken/val/000000000211.jpg").unlink()
    write_mini_lvis(tmp_path / "broken", **SMALLEST, progress=False)
    assert digests(tmp_path / "broken") == digests(tmp_path / "straight")


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/mine.jpg").write_bytes(b"mine")
    with pytest.raises(LtDetError, match="other images"):
        write_mini_lvis(tmp_path, **SMALLEST, progress=False)
    (tmp_path / "mini_lvis_train.json").write_text('{"info": {}}')
    with pytest.raises(LtDetError, match="not a file of mini_lvis"):
        write_mini_lvis(tmp_path, **SMALLEST, progress=False)
    assert sorted(digests(tmp_path)) == ["mini_lvis_train.json", "train/mine.jpg"]


# ----------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train": 100}, "no frequent class"),
        ({"num_train": 0}, "no common and no frequent class"),
        ({"num_train": 400, "num_classes": 3}, "400 training images and 3 classes"),
        ({"num_classes": 1204}, "3 to 1203 classes"),
        ({"num_classes": 1}, "3 to 1203 classes"),
        ({"num_val": 1}, "1 validation image cannot show each of 12 classes"),
        ({"image_size": 63}, "at least 64 pixels"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_arguments_are_refused(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(LtDetError, match=message):
        write_mini_lvis(tmp_path / "set", **{**SMALLEST, **changes}, progress=False)
    assert not (tmp_path / "set").exists()


def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LtDetError, match=r"cannot be written to .*file.set \(Not a directory\); move \S+file out"):
        write_mini_lvis(tmp_path / "file" / "set", **SMALLEST, progress=False)


# ------------------------------------------------------------------------------ contact sheet, progress


def test_contact_sheet_shows_every_bucket(made: Made, tmp_path: Path) -> None:
    write_contact_sheet(made.paths.image_root, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes() == made.paths.contact_sheet.read_bytes()
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[0] > 900
    assert sheet.shape[1] > 1200
    tiles = sheet[72:970]
    for color in BUCKET_COLORS.values():
        assert (tiles == color).all(axis=2).sum() > 1000


def test_contact_sheet_needs_a_data_set(made: Made, tmp_path: Path) -> None:
    with pytest.raises(LtDetError, match="no complete mini_lvis"):
        write_contact_sheet(tmp_path, tmp_path / "sheet.png")
    with pytest.raises(LtDetError, match="cannot be written"):
        write_contact_sheet(made.paths.image_root, tmp_path / "missing" / "sheet.png")


def test_progress_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mini_lvis(tmp_path, **SMALLEST, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "220/220" in captured.err
