"""Write long-tailed subsets of annotation files, and other files reduced to the classes of a subset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

from lt_det.datasets.output_file import check_output
from lt_det.datasets.record_selection import RecordSelection, count_fields
from lt_det.datasets.subset import LongTail, SubsetPlan, plan_subset, selection_of
from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import KIND, read_in_pieces
from lt_det.io.annotations.fields import SECTIONS, AnnotationFields
from lt_det.io.atomic import atomic_file, writing_to
from lt_det.io.json.encoding import encoder_of
from lt_det.io.json.sections import JsonSections
from lt_det.statistics.checked_counts import count_checked
from lt_det.statistics.class_stats import ClassStats


@dataclass(frozen=True, eq=False)
class Written:
    """A file that was written.

    Attributes:
        num_images: all of its images.
        stats: its class counts.
    """

    num_images: int
    stats: ClassStats


def write_subset(
    json_file: Path, out: Path, long_tail: LongTail, force: bool = False
) -> tuple[SubsetPlan, ClassStats, Written]:
    """Write a long-tailed subset of an annotation file, see `long_tailed_subset`.

    The file is read in pieces, twice, so that a large one takes little memory.

    Args:
        json_file: a COCO- or LVIS-format json.
        out: the annotation file to write. The images stay where they are.
        long_tail: the long tail that the subset should have.
        force: replace an existing file.

    Returns:
        The plan, the class counts of the whole file, and what was written.

    Raises:
        LtDetError: the annotations cannot be used, `out` exists or cannot be written; see also `plan_subset`.
    """
    check_output(out, json_file, force)
    counter = count_checked(json_file, warn=False)
    plan = plan_subset(counter, long_tail, str(json_file))
    written = _write(json_file, out, lambda categories: selection_of(plan, long_tail, categories))
    return plan, ClassStats.from_counter(counter, str(json_file)), written


def write_with_classes_of(json_file: Path, subset_file: Path, out: Path, force: bool = False) -> Written:
    """Write an annotation file, such as that of the validation images, with the classes of a subset.

    All images stay. The annotations of other classes are left out, and ``frequency``, ``image_count`` and
    ``instance_count`` of categories that have them become those of the subset, from which evaluation takes the buckets.

    Args:
        json_file: a COCO- or LVIS-format json with the classes of the subset and possibly others.
        subset_file: from `write_subset`.
        out, force: see `write_subset`.

    Raises:
        LtDetError: a class of the subset is not in the file or has another name, the annotations cannot be used, or
            `out` exists or cannot be written.
    """
    check_output(out, json_file, force)
    check_output(out, subset_file, force)
    kept = {category["id"]: category for category in _categories(subset_file)}
    names = {category["id"]: category["name"] for category in _categories(json_file)}
    for id_, category in kept.items():
        if names.get(id_) != category["name"]:
            found = f"is '{names[id_]}'" if id_ in names else "is missing"
            raise LtDetError(
                f"Category {id_}, '{category['name']}' in {subset_file}, {found} in {json_file}; name a file with the "
                "same categories."
            )
    count_checked(json_file, warn=False)
    stats = ClassStats.from_counter(count_checked(subset_file, warn=False), str(subset_file))
    counted = count_fields(sorted(kept), stats)  # for categories of the subset without these fields
    counts = {id_: {**counted[id_], **category} for id_, category in kept.items()}
    return _write(json_file, out, lambda categories: RecordSelection(categories, None, kept, counts))


def _categories(json_file: Path) -> list[dict[str, Any]]:
    """The normalized categories of a file, without reading its images."""
    pieces = read_in_pieces(json_file)
    return [record for _, records in takewhile(lambda piece: piece[0] == "categories", pieces) for record in records]


def _write(json_file: Path, out: Path, selection_for: Callable[[list[dict[str, Any]]], RecordSelection]) -> Written:
    """Write the selected records of a file that has been checked, and everything else of it unchanged.

    Args:
        json_file, out: see `write_subset`.
        selection_for: function from the normalized categories to the selection.
    """
    encode = encoder_of(json_file)
    fields = AnnotationFields(str(json_file))
    with (
        JsonSections(json_file, KIND) as sections,
        writing_to(out.parent, "The subset"),
        atomic_file(out) as unfinished,
        unfinished.open("wb") as file,
    ):
        categories = [record for piece in sections.pieces("categories") for record in piece]
        selection = selection_for(fields.normalized("categories", categories))
        file.write(b"{")
        for key, value in sections.rest.items():
            if key not in SECTIONS:
                file.write(encode(key) + b": ")
                if key in sections.names:
                    _write_list(file, map(encode, sections.pieces(key)))
                else:
                    file.write(encode(value))
                file.write(b", ")
        images = (selection.images(piece, fields.normalized("images", piece)) for piece in sections.pieces("images"))
        annotations = (
            selection.annotations(piece, fields.normalized("annotations", piece))
            for piece in sections.pieces("annotations")
        )
        file.write(b'"images": ')
        _write_list(file, map(encode, images))
        file.write(b', "annotations": ')
        _write_list(file, map(encode, annotations))
        # The counts of the categories are known last.
        file.write(b', "categories": ' + encode(selection.categories(categories)) + b"}")
    return Written(selection.num_images, selection.stats())


def _write_list(file: IO[bytes], parts: Iterable[bytes]) -> None:
    """Write a list whose values come as several encoded lists."""
    file.write(b"[")
    separator = b""
    for part in parts:
        if values := part[1:-1]:
            file.write(separator + values)
            separator = b", "
    file.write(b"]")
