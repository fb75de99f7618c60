"""Read COCO- and LVIS-format json files, and refuse those without COCO's structure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lt_det.errors import LtDetError
from lt_det.io.annotations.fields import SECTIONS, AnnotationFields, Section, check_sections, normalized_annotations
from lt_det.io.annotations.recognize import refusal
from lt_det.io.json.sections import JsonSections
from lt_det.io.json.text import decode_json, read_bytes

KIND = "annotation file"  # in messages


def read_json(file: str | os.PathLike[str], kind: str) -> Any:
    """The content of a json file that a user named.

    Args:
        file: path of the file.
        kind: what the file should be, for error messages, such as "results file".

    Raises:
        LtDetError: the file is missing, unreadable, empty or not valid json.
    """
    return decode_json(read_bytes(file, kind), f"The {kind} {file}")


def load_annotations(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an annotation file, check its structure, and normalize the fields of its records.

    Args:
        json_file: a COCO- or LVIS-format json with ``images``, ``annotations`` and ``categories``.

    Raises:
        LtDetError: the file is missing, empty or truncated; see also `normalized_annotations`.
    """
    return load_original(json_file)[1]


def load_original(json_file: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of an annotation file as it is written, and as `load_annotations` returns it.

    Raises:
        LtDetError: see `load_annotations`.
    """
    with _other_formats_recognized(json_file):
        with JsonSections(json_file, KIND) as sections:
            data = sections.rest
            for name in sections.names:
                data[name] = [record for piece in sections.pieces(name) for record in piece]
        return data, normalized_annotations(data, str(json_file))


def read_in_pieces(json_file: str | os.PathLike[str]) -> Iterator[tuple[Section, list[dict[str, Any]]]]:
    """Yield the sections of an annotation file and their normalized records, a few megabytes at a time.

    All categories come first and then all images, wherever they are in the file.

    Raises:
        LtDetError: see `load_annotations`.
    """
    fields = AnnotationFields(str(json_file))
    with _other_formats_recognized(json_file), JsonSections(json_file, KIND) as sections:
        check_sections(sections.rest, str(json_file))
        for name in SECTIONS:
            for piece in sections.pieces(name):
                yield name, fields.normalized(name, piece)
        fields.finish()


def image_records(json_file: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield the normalized images of an annotation file. Its annotations are not decoded.

    Raises:
        LtDetError: see `load_annotations`.
    """
    fields = AnnotationFields(str(json_file))
    with _other_formats_recognized(json_file), JsonSections(json_file, KIND) as sections:
        check_sections(sections.rest, str(json_file))
        for name in SECTIONS[:2]:  # federated lists name categories
            for piece in sections.pieces(name):
                records = fields.normalized(name, piece)
                yield from records if name == "images" else ()


@contextmanager
def _other_formats_recognized(json_file: str | os.PathLike[str]) -> Iterator[None]:
    """Context in which the error for a file in another format says what it is and how to convert it."""
    try:
        yield
    except LtDetError:
        if (other := refusal(json_file)) is not None:
            raise other from None
        raise


def image_file_name(image: dict[str, Any], json_file: str | os.PathLike[str]) -> str:
    """Path of an image relative to its image folder.

    ``file_name`` if present. LVIS v1 has only ``coco_url`` (``.../train2017/000000391895.jpg``: its last two
    parts are used), and LVIS v0.5's ``file_name`` has a COCO 2014 prefix that the files on disk do not have. The
    ``coco_url`` of COCO 2014 itself may name no file (``http://mscoco.org/images/391895``).
    """
    name, url = str(image.get("file_name") or ""), str(image.get("coco_url") or "")
    *_, in_url = url.split("/")
    if url and (not name or (name.startswith("COCO_") and name.endswith(f"_{in_url}"))):
        return "/".join(url.split("/")[-2:])
    if name:
        return name
    raise LtDetError(f"{json_file}: image {image['id']} has neither 'file_name' nor 'coco_url'; add 'file_name'.")
