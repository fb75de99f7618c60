"""Decode images in several processes, to find those that a training could not read."""

from __future__ import annotations

import multiprocessing
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import image_file_name
from lt_det.io.not_an_image import why_unreadable
from lt_det.io.progress import progress_bar

_ORIENTATION = 274  # EXIF tag
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_FEW = 64  # images that this process has decoded before others have started


class ImageFile(NamedTuple):
    """An image of an annotation file: its id, its path, and the width and height that the annotations say."""

    id: Any
    path: str
    width: int
    height: int


def undecodable_images(json_file: Path, image_root: Path, images: Sequence[dict[str, Any]]) -> list[str]:
    """Decode every image of an annotation file in as many processes as there are cores, behind a progress bar.

    Args:
        json_file: for messages.
        image_root: folder that ``file_name`` is relative to.
        images: with ``id``, ``width`` and ``height``.

    Returns:
        Id, path and problem of each image that cannot be read, in the order of the file.

    Raises:
        LtDetError: see `decoding_problems`.
    """
    files = []
    for image in images:
        path = Path(image_root, image_file_name(image, json_file))
        files.append(ImageFile(image["id"], str(path), image["width"], image["height"]))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with progress_bar("Decoding images", len(files)) as advance:
        found = decoding_problems(files, cores, advance)
        return [f"image {image.id}: {image.path}: {problem}" for image, problem in found]


def decoding_problem(image: ImageFile) -> str | None:
    """Decode one image completely; return what is wrong with it, or None.

    The size is that after the turn that the image's EXIF data ask for, as Detectron2 reads it.
    """
    try:
        if not stat.S_ISREG(os.stat(image.path).st_mode):  # opening a pipe would wait for ever
            return "it is not a file"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes near Pillow's limit, and of corrupt EXIF data
            with Image.open(image.path) as opened:
                turned = opened.getexif().get(_ORIENTATION) in _TURNED
                width, height = opened.size[::-1] if turned else opened.size
                opened.convert("RGB")
    except Exception as error:  # Pillow's plug-ins raise whatever a corrupt file makes them raise
        return f"it {why_unreadable(image.path, error)}"
    if (width, height) == (image.width, image.height):
        return None
    turned_from = f"{height} x {width} pixels, which its EXIF orientation turns to " if turned else ""
    unit = "" if turned else " pixels"
    return f"it has {turned_from}{width} x {height}{unit}, but {image.width} x {image.height} in the annotations"


def decoding_problems(
    images: Sequence[ImageFile], processes: int, advance: Callable[[], None] = lambda: None
) -> Iterator[tuple[ImageFile, str]]:
    """Decode images and yield those that a training cannot read, in their order, with the reason.

    Args:
        images: to decode.
        processes: that decode at the same time; 1: this process.
        advance: is called after each image.

    Raises:
        LtDetError: a process has died, most likely because memory ran out.
    """
    if processes == 1 or len(images) <= _FEW:
        yield from _bad(images, map(decoding_problem, images), advance)
        return
    try:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from _bad(images, pool.map(decoding_problem, images, chunksize=16), advance)
    except BrokenProcessPool as error:
        raise LtDetError(
            "A process that decodes images has died, most likely because memory ran out; close other programs."
        ) from error


def _bad(
    images: Sequence[ImageFile], problems: Iterator[str | None], advance: Callable[[], None]
) -> Iterator[tuple[ImageFile, str]]:
    for image, problem in zip(images, problems, strict=True):
        advance()
        if problem is not None:
            yield image, problem
