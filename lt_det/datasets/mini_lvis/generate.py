"""`mini_lvis`: a small synthetic, long-tailed instance-segmentation dataset in LVIS v1 json format.

The classes are the 62 letters and digits. The k-th most frequent of K classes occurs in

    n_k = round(h * (3 / h) ** (k / (K - 1)))  with  h = num_train // 2

training images, exactly: from half of the images for the most frequent class to 3 for the rarest, so that LVIS's rare
(1-10 images), common (11-100) and frequent (more than 100) buckets all have classes. The validation set is more
balanced, so that the AP of rare classes does not depend on one or two objects.

As in LVIS, annotation is federated: an image lists only some of the classes that are absent (`neg_category_ids`), and
some images list a class of which not every object is annotated (`not_exhaustive_category_ids`); their annotations lack
objects that are in the image.

Class order, training images and validation images come from three independent random streams spawned from the seed, so
no validation image is a copy of a training image.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lt_det.datasets.mini_lvis.contact_sheet import FREQUENCY_NAMES, write_contact_sheet
from lt_det.datasets.mini_lvis.plan import ImagePlan, annotated_positions, plan_images
from lt_det.datasets.mini_lvis.scenes import GLYPHS, draw_scene, polygon_area
from lt_det.errors import LtDetError
from lt_det.io.atomic import write_atomically
from lt_det.io.progress import progress_bar

__all__ = ["MiniLvis", "write_mini_lvis"]

_RECIPE = 1  # increased whenever the same parameters give other data
_MIN_IMAGE_SIZE = 64
_TAIL_IMAGES = 3
_RARE_MAX, _COMMON_MAX = 10, 100  # LVIS v1 bucket edges, in training images
_MIN_VAL_IMAGES = 10  # of each class, where the validation set is large enough
_VAL_POWER = 0.25  # validation counts are proportional to this power of the training counts
_VAL_CLASSES_PER_IMAGE = 5
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
    seed: int = 0,
    image_size: int = 144,
    progress: bool = True,
) -> MiniLvis:
    """Write the dataset to the folder `out`, or reuse the one there if it was written with the same arguments.

    The same arguments give the same bytes with the same versions of OpenCV and NumPy.

    Args:
        out: folder to create, for two json files, the images and a contact sheet.
        num_train: training images, at least 202; 400 are enough with 12 or more classes.
        num_val: validation images, at least a sixth of the number of classes.
        num_classes: classes, 3 to 62.
        seed: any integer of at least 0.
        image_size: width and height of the images in pixels, at least 64; glyphs scale with it.
        progress: whether to show a progress bar on standard error.

    Raises:
        LtDetError: the arguments leave one of the three buckets empty, `out` contains other files or a dataset written
            with other arguments, or it cannot be written.
    """
    counts = _train_counts(num_train, num_classes)
    _check_sizes(counts, num_train, num_val, num_classes, seed, image_size)
    parameters = {
        "recipe": _RECIPE,
        "num_train": num_train,
        "num_val": num_val,
        "num_classes": num_classes,
        "seed": seed,
        "image_size": image_size,
    }
    out = Path(out)
    paths = MiniLvis(out / "mini_lvis_train.json", out / "mini_lvis_val.json", out, out / "contact_sheet.png")
    try:
        if _is_complete(paths, parameters):
            return paths
        out.mkdir(parents=True, exist_ok=True)
        _write_json(out / _MARKER, {"info": _info(parameters)})
        _write_all(paths, counts, parameters, progress)
        write_contact_sheet(out, paths.contact_sheet)
        (out / _MARKER).unlink()
    except OSError as error:
        raise LtDetError(f"mini_lvis cannot be written to {out}: {error.strerror or error}.") from error
    return paths


# ------------------------------------------------------------------------------------ sizes and counts


def _train_counts(num_train: int, num_classes: int) -> list[int]:
    """Number of training images of each class, in descending order."""
    head = max(num_train // 2, 1)
    steps = max(num_classes - 1, 1)
    return [round(head * (_TAIL_IMAGES / head) ** (rank / steps)) for rank in range(num_classes)]


def _val_counts(train_counts: Sequence[int], num_val: int) -> list[int]:
    """Number of validation images of each class, in the order of `train_counts`."""
    weights = np.asarray(train_counts, np.float64) ** _VAL_POWER
    wanted = np.rint(_VAL_CLASSES_PER_IMAGE * num_val * weights / weights.sum())
    # A lower minimum where so many classes would overfill so few images.
    floor = max(1, min(_MIN_VAL_IMAGES, (_VAL_CLASSES_PER_IMAGE + 1) * num_val // len(train_counts)))
    return [min(max(int(count), floor), num_val) for count in wanted]


def _frequency(image_count: int) -> str:
    if image_count <= _RARE_MAX:
        return "r"
    return "c" if image_count <= _COMMON_MAX else "f"


def _check_sizes(
    counts: Sequence[int], num_train: int, num_val: int, num_classes: int, seed: int, image_size: int
) -> None:
    if not 3 <= num_classes <= len(GLYPHS):
        raise LtDetError(f"mini_lvis has 3 to {len(GLYPHS)} classes, not {num_classes}.")
    missing = [name for letter, name in FREQUENCY_NAMES.items() if letter not in map(_frequency, counts)]
    if missing:
        raise LtDetError(
            f"{num_train} training images and {num_classes} classes give no {' and no '.join(missing)} class:"
            " ask for at least 400 images and 12 classes."
        )
    if sum(counts) < num_train:
        raise LtDetError(
            f"{num_classes} classes are too few to put an object in each of {num_train} training images:"
            " ask for more classes."
        )
    if num_val * (_VAL_CLASSES_PER_IMAGE + 1) < num_classes:
        raise LtDetError(f"{num_val} validation images are too few to show each of {num_classes} classes.")
    if image_size < _MIN_IMAGE_SIZE:
        raise LtDetError(f"mini_lvis images are at least {_MIN_IMAGE_SIZE} pixels wide, not {image_size}.")
    if seed < 0:
        raise LtDetError(f"the seed of mini_lvis is an integer of at least 0, not {seed}.")


# ---------------------------------------------------------------------------------------------- writing


def _write_all(paths: MiniLvis, counts: Sequence[int], parameters: dict[str, int], progress: bool) -> None:
    order_seed, train_seed, val_seed = np.random.SeedSequence(parameters["seed"]).spawn(3)
    num_classes = parameters["num_classes"]
    # The index of a class must not reveal its frequency.
    order = np.random.default_rng(order_seed).permutation(num_classes).tolist()
    train_counts = [counts[rank] for rank in order]
    val_ranked = _val_counts(counts, parameters["num_val"])
    val_counts = [val_ranked[rank] for rank in order]
    glyphs = "".join(GLYPHS[round(i * len(GLYPHS) / num_classes)] for i in range(num_classes))
    frequent = {index for index, count in enumerate(train_counts) if _frequency(count) == "f"}
    num_images = parameters["num_train"] + parameters["num_val"]
    with _one_thread(), progress_bar("Generating mini_lvis", num_images, shown=progress) as step:
        splits = {}
        first_image = 1
        for split, seed, split_counts in (("train", train_seed, train_counts), ("val", val_seed, val_counts)):
            rng = np.random.default_rng(seed)
            plans = plan_images(rng, split_counts, parameters[f"num_{split}"], frequent)
            (paths.image_root / split).mkdir(exist_ok=True)
            splits[split] = _write_split(rng, plans, glyphs, paths.image_root, split, first_image, parameters, step)
            first_image += len(plans)
    categories = _categories(glyphs, train_counts, splits["train"][1])
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
    glyphs: str,
    root: Path,
    split: str,
    first_image: int,
    parameters: dict[str, int],
    step: Callable[[], None],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the images of one split, call `step` after each, and return LVIS's `images` and `annotations`."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    size = parameters["image_size"]
    for image_id, plan in enumerate(plans, first_image):
        image, segmentations = draw_scene(rng, [glyphs[index] for index in plan.objects], size)
        file_name = f"{split}/{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        (root / file_name).write_bytes(encoded.tobytes())
        for position in annotated_positions(rng, plan):
            annotations.append(
                _annotation(len(annotations) + 1, image_id, plan.objects[position] + 1, segmentations[position])
            )
        absent = sorted(set(range(len(glyphs))).difference(plan.objects))
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
    glyphs: str, image_counts: Sequence[int], train_annotations: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """LVIS categories with the training counts, for both json files."""
    instances = [0] * len(glyphs)
    for annotation in train_annotations:
        instances[annotation["category_id"] - 1] += 1
    categories = []
    for index, glyph in enumerate(glyphs):
        kind = "digit" if glyph.isdigit() else "upper" if glyph.isupper() else "lower"
        name = f"{kind}_{glyph.lower()}"
        words = {"digit": "digit", "upper": "capital letter", "lower": "small letter"}[kind]
        categories.append(
            {
                "id": index + 1,
                "name": name,
                "synset": f"{name}.n.01",
                "synonyms": [name],
                "def": f"the {words} {glyph}",
                "frequency": _frequency(image_counts[index]),
                "image_count": image_counts[index],
                "instance_count": instances[index],
            }
        )
    return categories


def _info(parameters: dict[str, int]) -> dict[str, Any]:
    return {
        "description": "mini_lvis: drawn letters and digits with a long tail",
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


def _is_complete(paths: MiniLvis, parameters: dict[str, int]) -> bool:
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
            names = sorted(name for name in parameters if found.get(name) != parameters[name])
            differing = ", ".join(f"{name} {found.get(name)}, not {parameters[name]}" for name in names)
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
