"""Annotation formats by name. A format is one function from a path to COCO's structure."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from lt_det.data.formats.own_function import annotations_of_function
from lt_det.errors import LtDetError
from lt_det.io.annotations.fields import normalized_annotations
from lt_det.registry import Registry

Reader = Callable[[Path], dict[str, Any]]

COCO = "coco"
FORMATS: Registry[Reader] = Registry("An annotation format")


def register_format(name: str) -> Callable[[Reader], Reader]:
    """Function decorator: make an annotation format known as `name`, for ``DATASETS.REGISTER.<set>.ANNOTATION_FORMAT``.

    The function gets the path that a dataset is registered with (a file or a folder) and returns a dictionary with
    COCO's lists ``images``, ``annotations`` and ``categories``: boxes in pixels as [x, y, width, height]; LVIS's
    federated lists may be keys of the images.

    Raises:
        ValueError: the name is taken.
    """
    return FORMATS.register(name)


def read_annotations(path: str | os.PathLike[str], annotation_format: str = COCO) -> dict[str, Any]:
    """Read annotations in any registered format and normalize their fields.

    Args:
        path: a file or a folder, whatever the format reads.
        annotation_format: a key of `FORMATS`.

    Raises:
        LtDetError: unknown format, a reader that fails, or what `normalized_annotations` refuses.
    """
    reader = format_reader(annotation_format)
    if annotation_format == COCO:
        return reader(Path(path))
    try:
        data = reader(Path(path))
    except LtDetError:
        raise
    except Exception as error:  # a user's program can fail in any way
        raise LtDetError(
            f"The reader of the annotation format '{annotation_format}' fails on {path} ({type(error).__name__}: "
            f"{error}); fix the reader or the file."
        ) from error
    return normalized_annotations(data, str(path))


def format_reader(annotation_format: str) -> Reader:
    """
    Raises:
        LtDetError: no format has this name; lists those there are.
    """
    if annotation_format not in FORMATS:
        raise LtDetError(
            f"There is no annotation format '{annotation_format}' (ANNOTATION_FORMAT); write one of "
            f"{', '.join(sorted(FORMATS))}, or register it with lt_det.data.register_format before the dataset."
        )
    return FORMATS[annotation_format]


def annotations_of(name: str) -> dict[str, Any]:
    """The annotations of a registered dataset, in COCO's structure.

    Args:
        name: a dataset whose metadata have a ``json_file``, whatever its format, or one that a user's own function
            makes without a file.

    Raises:
        LtDetError: see `read_annotations` and `annotations_of_function`.
    """
    metadata = MetadataCatalog.get(name)
    if not metadata.get("json_file"):
        return annotations_of_function(name)
    return read_annotations(metadata.json_file, metadata.get("annotation_format", COCO))


def reads_coco_json(name: str) -> bool:
    """Whether the ``json_file`` of a registered dataset is a COCO- or LVIS-format json, and not another format."""
    return bool(MetadataCatalog.get(name).get("annotation_format", COCO) == COCO)
