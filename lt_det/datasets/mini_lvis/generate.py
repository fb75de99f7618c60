"""`mini_lvis`: a small synthetic, long-tailed instance-segmentation dataset in LVIS v1 json format.

Up to 62 classes are letters and digits, more are glyphs of many scripts (`glyphs.py`); `counts.py` says how many images
show each class.

As in LVIS, annotation is federated: an image lists only some of the classes that are absent (`neg_category_ids`), and
some images list a class of which not every object is annotated (`not_exhaustive_category_ids`); their annotations lack
objects that are in the image.

Class order, training images and validation images come from three independent random streams spawned from the seed, so
no validation image is a copy of a training image.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lt_det.datasets.mini_lvis.contact_sheet import write_contact_sheet
from lt_det.datasets.mini_lvis.counts import (
    Imbalance,
    check_counts,
    describe_counts,
    frequency,
    train_counts,
    val_counts,
)
from lt_det.datasets.mini_lvis.glyphs import GlyphClasses, choose_classes
from lt_det.datasets.mini_lvis.hershey import HERSHEY_GLYPHS
from lt_det.datasets.mini_lvis.plan import ImagePlan, annotated_positions, plan_images
from lt_det.datasets.mini_lvis.scenes import draw_scene, polygon_area
from lt_det.errors import LtDetError, writing_advice
from lt_det.io.atomic import write_atomically
from lt_det.io.progress import progress_bar

__all__ = ["MiniLvis", "describe_mini_lvis", "write_mini_lvis"]

# Increased whenever the same parameters give other data: with letters and digits, and with the glyphs of DejaVu Sans.
_LETTERS_RECIPE, _GLYPHS_RECIPE = 1, 2
_MIN_IMAGE_SIZE = 64
_NEGATIVES = 20  # absent classes that an image lists
_JPEG_QUALITY = 95
_MARKER = ".mini_lvis_unfinished.json"


@dataclass(frozen=True)
class MiniLvis:
    """Files of a written dataset. `image_root` is the folder that contains `train/` and `val/`.

    Detectron2's `load_lvis_json` concatenates the image root and the split's folder as text: give it the root with a
    trailing slash.
    """

    train_json: Path
    val_json: Path
    image_root: Path
    contact_sheet: Path


def write_mini_lvis(
    out: Path,
    *,
    num_train: int = 4000,
    num_val: int = 400,
    num_classes: int = 62,
    imbalance: str | None = None,
    ratio: float | None = None,
    seed: int = 0,
    image_size: int = 144,
    progress: bool = True,
) -> MiniLvis:
    """Write the dataset to the folder `out`, or reuse the one there if it was written with the same arguments.

    The same arguments give the same bytes with the same versions of OpenCV and NumPy.

    Args:
        out: folder to create, for two json files, the images and a contact sheet.
        num_train: training images, at least 202 without an imbalance; 400 are enough with 12 to 62 classes.
        num_val: validation images, at least a sixth of the number of classes.
        num_classes: classes, 3 to 1203.
        imbalance: `exponential`, `step` or `lvis`, see `counts.py`; None gives all three buckets classes.
        ratio: images of the most frequent class over those of the rarest, at least 1 (balanced); with `exponential`
            and `step` only.
        seed: any integer of at least 0.
        image_size: width and height of the images in pixels, at least 64; glyphs scale with it.
        progress: whether to show a progress bar on standard error.

    Raises:
        LtDetError: there are no such counts, or without an imbalance they leave one of the three buckets empty; `out`
            contains other files or a dataset written with other arguments, or it cannot be written.
    """
    if imbalance is None and ratio is not None:
        raise LtDetError(f"The ratio {ratio:g} of mini_lvis needs an imbalance, exponential or step.")
    dial = None if imbalance is None else Imbalance(imbalance, ratio)
    classes = choose_classes(num_classes)
    counts = train_counts(num_train, num_classes, dial)
    check_counts(counts, num_train, num_val, dial)
    if image_size < _MIN_IMAGE_SIZE:
        raise LtDetError(f"mini_lvis images are at least {_MIN_IMAGE_SIZE} pixels wide, not {image_size}.")
    if seed < 0:
        raise LtDetError(f"the seed of mini_lvis is an integer of at least 0, not {seed}.")
    parameters: dict[str, Any] = {
        "recipe": _LETTERS_RECIPE if num_classes <= len(HERSHEY_GLYPHS) else _GLYPHS_RECIPE,
        "num_train": num_train,
        "num_val": num_val,
        "num_classes": num_classes,
        "seed": seed,
        "image_size": image_size,
    }
    # Only what is set, so that a dataset without an imbalance is the same as before there was one.
    if dial is not None:
        parameters["imbalance"] = dial.kind
    if dial is not None and dial.ratio is not None:
        parameters["ratio"] = float(dial.ratio)
    out = Path(out)
    paths = MiniLvis(out / "mini_lvis_train.json", out / "mini_lvis_val.json", out, out / "contact_sheet.png")
    try:
        if _is_complete(paths, parameters):
            return paths
        out.mkdir(parents=True, exist_ok=True)
        _write_json(out / _MARKER, {"info": _info(parameters)})
        _write_all(paths, classes, counts, val_counts(counts, num_val, dial), parameters, progress)
        write_contact_sheet(out, paths.contact_sheet)
        (out / _MARKER).unlink()
    except OSError as error:
        reason, advice = error.strerror or error, writing_advice(error)
        raise LtDetError(f"mini_lvis cannot be written to {out} ({reason}); {advice}.") from error
    return paths


def describe_mini_lvis(written: MiniLvis) -> str:
    """The numbers of classes and of their images, counted in the two json files."""
    counted = []
    for path in (written.train_json, written.val_json):
        data = json.loads(path.read_text(encoding="utf-8"))
        shown = {(annotation["category_id"], annotation["image_id"]) for annotation in data["annotations"]}
        images = Counter(category_id for category_id, _ in shown)
        counted.append([images[category["id"]] for category in data["categories"]])
    return describe_counts(*counted)


# ---------------------------------------------------------------------------------------------- writing


def _write_all(
    paths: MiniLvis,
    classes: GlyphClasses,
    train_ranked: Sequence[int],
    val_ranked: Sequence[int],
    parameters: dict[str, Any],
    progress: bool,
) -> None:
    order_seed, train_seed, val_seed = np.random.SeedSequence(parameters["seed"]).spawn(3)
    # The index of a class must not reveal its frequency.
    order = np.random.default_rng(order_seed).permutation(len(classes.glyphs)).tolist()
    train_images = [train_ranked[rank] for rank in order]
    val_images = [val_ranked[rank] for rank in order]
    frequent = {index for index, count in enumerate(train_images) if frequency(count) == "f"}
    num_images = parameters["num_train"] + parameters["num_val"]
    with _one_thread(), progress_bar("Generating mini_lvis", num_images, shown=progress) as step:
        splits = {}
        first_image = 1
        for split, seed, split_counts in (("train", train_seed, train_images), ("val", val_seed, val_images)):
            rng = np.random.default_rng(seed)
            plans = plan_images(rng, split_counts, parameters[f"num_{split}"], frequent)
            (paths.image_root / split).mkdir(exist_ok=True)
            splits[split] = _write_split(rng, plans, classes, paths.image_root, split, first_image, parameters, step)
            first_image += len(plans)
    categories = _categories(classes, train_images, splits["train"][1])
    # The json files come last: a folder of images without them does not count as a dataset.
    for path, split in ((paths.val_json, "val"), (paths.train_json, "train")):
        images, annotations = splits[split]
        license = {"id": 1, "name": "drawn by mini_lvis, no rights reserved", "url": ""}
        content = {
            "info": _info(parameters),
            "licenses": [license],
            "categories": categories,
            "images": images,
            "annotations": annotations,
        }
        _write_json(path, content)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread: for small images, starting more costs more than they save."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _write_split(
    rng: np.random.Generator,
    plans: Sequence[ImagePlan],
    classes: GlyphClasses,
    root: Path,
    split: str,
    first_image: int,
    parameters: dict[str, Any],
    step: Callable[[], None],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the images of one split, call `step` after each, and return LVIS's `images` and `annotations`."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    size = parameters["image_size"]
    for image_id, plan in enumerate(plans, first_image):
        glyphs = [classes.glyphs[index] for index in plan.objects]
        image, segmentations = draw_scene(rng, glyphs, size, classes.random_mask)
        file_name = f"{split}/{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        (root / file_name).write_bytes(encoded.tobytes())
        for position in annotated_positions(rng, plan):
            annotations.append(
                _annotation(len(annotations) + 1, image_id, plan.objects[position] + 1, segmentations[position])
            )
        absent = sorted(set(range(len(classes.glyphs))).difference(plan.objects))
        negatives = sorted(rng.permutation(absent)[:_NEGATIVES].tolist())
        images.append(
            {
                "id": image_id,
                "width": size,
                "height": size,
                "file_name": file_name,
                "coco_url": f"mini_lvis://{file_name}",
                "flickr_url": "",
                "license": 1,
                "date_captured": "",
                "neg_category_ids": [index + 1 for index in negatives],
                "not_exhaustive_category_ids": [] if plan.partial is None else [plan.partial + 1],
            }
        )
        step()
    return images, annotations


def _annotation(number: int, image_id: int, category_id: int, polygons: list[list[float]]) -> dict[str, Any]:
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
    low, high = points.min(axis=0), points.max(axis=0)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": np.round(np.concatenate([low, high - low]), 2).tolist(),
        # Outer contours do not overlap, so the area of their union is the sum.
        "area": round(sum(map(polygon_area, polygons)), 2),
        "segmentation": polygons,
    }


def _categories(
    classes: GlyphClasses, image_counts: Sequence[int], train_annotations: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """LVIS categories with the training counts, for both json files."""
    instances = Counter(annotation["category_id"] for annotation in train_annotations)
    return [
        {
            "id": index,
            "name": name,
            "synset": f"{name}.n.01",
            "synonyms": [name],
            "def": definition,
            "frequency": frequency(image_count),
            "image_count": image_count,
            "instance_count": instances[index],
        }
        for index, (name, definition, image_count) in enumerate(
            zip(classes.names, classes.definitions, image_counts, strict=True), 1
        )
    ]


def _info(parameters: dict[str, Any]) -> dict[str, Any]:
    plain = "imbalance" not in parameters and parameters["num_classes"] <= len(HERSHEY_GLYPHS)
    return {
        "description": "mini_lvis: drawn letters and digits with a long tail" if plain else "mini_lvis: drawn glyphs",
        "version": "1.0",
        "year": 0,
        "contributor": "lt_det",
        "url": "",
        "date_created": "",  # with a date, equal datasets would differ
        "drawn_with": f"OpenCV {cv2.__version__}",  # its built-in fonts differ between versions 4 and 5
        "mini_lvis": parameters,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, separators=(",", ":")))


# ---------------------------------------------------------------------------------------------- reading


def _is_complete(paths: MiniLvis, parameters: dict[str, Any]) -> bool:
    """Whether the folder contains the whole dataset.

    Raises:
        LtDetError: it contains something else.
    """
    marker = paths.image_root / _MARKER
    present = [path for path in (marker, paths.train_json, paths.val_json) if path.exists()]
    for path in present:
        found = _read_parameters(path)
        if found is None:
            raise LtDetError(f"{path} is not a file of mini_lvis: choose another folder or remove it.")
        if found != parameters:
            names = sorted(name for name in {**found, **parameters} if found.get(name) != parameters.get(name))
            differing = ", ".join(f"{name} {found.get(name)}, not {parameters.get(name)}" for name in names)
            raise LtDetError(
                f"{paths.image_root} contains a mini_lvis with other settings ({differing}):"
                " choose another folder or remove this one."
            )
    num_images = {split: _num_images(paths.image_root / split) for split in ("train", "val")}
    if not present and any(num_images.values()):
        raise LtDetError(f"{paths.image_root} already contains other images: choose another folder.")
    full = all(num_images[split] >= parameters[f"num_{split}"] for split in num_images)
    return full and present == [paths.train_json, paths.val_json] and paths.contact_sheet.exists()


def _read_parameters(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["info"]["mini_lvis"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _num_images(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.jpg")) if folder.is_dir() else 0
