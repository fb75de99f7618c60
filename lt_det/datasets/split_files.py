"""Write the parts of a split as annotation files."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt_det.datasets.output_file import check_output
from lt_det.datasets.splitting import GroupOf, assign_images, select_part
from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import image_file_name, image_records, load_original
from lt_det.io.atomic import atomic_files, writing_to
from lt_det.io.json.encoding import encoder_of
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

_PARTS = ("train", "val", "test")

_FRAME = re.compile(r"^(.+?)[_.-]*(?:frame|frm)[_.-]*\d+\.\w+$", re.IGNORECASE)
_FRAME_PATTERN = "(?i)^(.+?)[_.-]*(frame|frm)"  # what a user can pass on
_COPY = re.compile(r"^(.+)\.rf\.[0-9a-zA-Z]{16,}\.\w+$")  # Roboflow's augmented copies of a photograph
_COPY_PATTERN = r"^(.+)\.rf\."


@dataclass(frozen=True, eq=False)
class Part:
    """A part that was written.

    Attributes:
        name: "train", "val" or "test".
        file: its annotation file.
        num_images: all of its images, with annotations or without.
        stats: its class counts.
    """

    name: str
    file: Path
    num_images: int
    stats: ClassStats


def write_split(
    json_file: Path,
    folder: Path,
    fractions: Mapping[str, float],
    seed: int = 0,
    group_key: str | None = None,
    group_pattern: str | None = None,
    force: bool = False,
) -> list[Part]:
    """Split an annotation file by image, see `split_by_image`, and write ``NAME.json`` for each part.

    Args:
        json_file: a COCO- or LVIS-format json.
        folder: folder for the parts. The images stay where they are.
        fractions: name of each part and its fraction of the images, the training part first; their sum is 1. Other
            parts of an earlier split stay in the folder; a warning names those that share images with the new ones.
        seed: other seeds give other splits.
        group_key: key of the image records, such as "video_id": images with the same value stay in one part.
        group_pattern: regular expression that is searched in each image's file name; images with the same match (its
            first group if it has one) stay in one part.
        force: replace existing files.

    Raises:
        LtDetError: the annotations cannot be used, a file exists, an image has no such key or match, or the folder
            cannot be written.
    """
    names = [f"{name}.json" for name in fractions]
    for name in names:
        check_output(folder / name, json_file, force)
    data, normalized = load_original(json_file)
    group_of = _group_of(normalized["images"], json_file, group_key, group_pattern)
    parts = assign_images(normalized, list(fractions.values()), seed, group_of)
    encode = encoder_of(json_file)
    written = []
    with writing_to(folder, "The split"), atomic_files(folder, names) as unfinished:
        for index, name in enumerate(fractions):
            part = select_part(data, normalized, parts, index)
            with (unfinished / names[index]).open("wb") as out:
                out.write(encode(part))
            stats = ClassStats.from_annotations(select_part(normalized, normalized, parts, index), name)
            written.append(Part(name, folder / names[index], len(part["images"]), stats))
    _warn_of_older_parts(folder, {name: index for index, name in enumerate(fractions)}, normalized, parts, json_file)
    return written


def _warn_of_older_parts(
    folder: Path, written: Mapping[str, int], normalized: Mapping[str, Any], parts: Sequence[int], json_file: Path
) -> None:
    """Log the parts of an earlier split that this one does not replace, such as test.json if it has no test part."""
    part_of = {_identity(image): part for image, part in zip(normalized["images"], parts, strict=True)}
    for path in (folder / f"{name}.json" for name in _PARTS if name not in written):
        if not path.is_file() or path.samefile(json_file):
            continue
        try:
            shared = Counter(part_of.get(_identity(image)) for image in image_records(path))
        except LtDetError:
            continue  # no annotation file
        numbers = [
            f"{count_of(shared[part], 'image')} of {name}.json" for name, part in written.items() if shared[part]
        ]
        if numbers:
            logger.warning(
                "%s is of an earlier split, stays as it is, and has %s; delete it, or write this part, too "
                "(lt-det split --%s).",
                path,
                " and ".join(numbers),
                path.stem,
            )


def _identity(image: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the same image has in two parts of one file; images of another file may have the same ids."""
    return image["id"], image.get("file_name"), image.get("coco_url")


def _group_of(
    images: Sequence[Mapping[str, Any]], json_file: Path, key: str | None, pattern: str | None
) -> GroupOf | None:
    """The key of each image's group; None: each file is a group, with a warning if they seem to belong together."""
    if key is not None:
        for image in images:
            if _group(image.get(key)) is None:
                having = sorted(name for name, value in image.items() if _group(value) is not None)
                raise LtDetError(
                    f"{json_file}: image {image['id']} has no '{key}' that is a whole number or a text; group by a key "
                    f"that every image has ({', '.join(having)}), or use --group-pattern."
                )
        return lambda image: _group(image[key])
    if pattern is None:
        _warn_of_groups(images, json_file)
        return None
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise LtDetError(f"--group-pattern {pattern!r} is not a regular expression ({error}); correct it.") from None

    def matched(image: Mapping[str, Any]) -> str:
        name = image_file_name(dict(image), json_file)
        found = expression.search(name)
        if found is None:
            raise LtDetError(
                f"--group-pattern {pattern!r} does not match {name}; write an expression that matches every file name."
            )
        return found[1] or "" if expression.groups else found[0]

    return matched


def _group(value: Any) -> tuple[type, Any] | None:
    """What equals the value of another image of the same group: 12.0 is 12. None for what is no number or text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (type(value), value) if isinstance(value, str | int) else None


def _warn_of_groups(images: Sequence[Mapping[str, Any]], json_file: Path) -> None:
    names = [image.get("file_name") for image in images]
    videos = {str(image.get("video_id")) for image in images if image.get("video_id") is not None}
    if videos and len(videos) < len(images):
        what, group, advice = "have a video_id", "a video", "--group-by video_id"
    elif frame := _example(_FRAME, images):
        what, group, advice = f"look like frames of videos ({frame})", "a video", f"--group-pattern '{_FRAME_PATTERN}'"
    elif copy := _example(_COPY, images):
        what, group = f"look like Roboflow's augmented copies of photographs ({copy})", "a photograph"
        advice = f"--group-pattern '{_COPY_PATTERN}'"
    elif all(names) and (again := len(names) - len(set(names))):
        what, group, advice = f"have the file of another one ({again} of them)", "a file", "--group-by file_name"
    else:
        return
    logger.warning(
        "%s: the images %s; %s that is in two parts makes every number too good; add %s.",
        json_file,
        what,
        group,
        advice,
    )


def _example(name: re.Pattern[str], images: Sequence[Mapping[str, Any]]) -> str | None:
    """The first name, if half of the names match, and their groups have two images on average; else None."""
    found = [match for image in images if (match := name.match(str(image.get("file_name"))))]
    if len(found) < len(images) / 2 or len({match[1] for match in found}) > len(found) / 2:
        return None
    return found[0][0]
