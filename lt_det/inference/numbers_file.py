"""The file with the detections as numbers, beside the images that they are drawn in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lt_det.errors import LtDetError, writing_advice
from lt_det.inference.media import MediaFile
from lt_det.io.annotations.coco_json import read_json
from lt_det.io.atomic import write_atomically

NAME = "detections.json"


class NumbersFile:
    """``detections.json`` in a folder, which keeps what earlier calls wrote about other images in the folder."""

    def __init__(self, folder: Path, detector: dict[str, Any], media: Sequence[MediaFile]) -> None:
        """
        Args:
            folder: with the results.
            detector: what all images have in common: weights, threshold, classes.
            media: what this call reads.

        Raises:
            LtDetError: the file there is no such file, or would keep detections of another detector.
        """
        self.file, self._detector = folder / NAME, detector
        content = _content(self.file) if self.file.exists() else {**detector, "images": []}
        earlier: list[dict[str, Any]] = content["images"]
        differing = [key for key in detector if _compared(key, content.get(key)) != _compared(key, detector[key])]
        kept = _others(earlier, (media_file.result.name for media_file in media))
        if differing and kept:
            raise LtDetError(
                f"{self.file} has the detections of {kept[0]['result']} from an earlier call with other "
                f"{' and '.join(differing)}; choose another --output, or remove the file."
            )
        self._earlier = [] if differing else earlier  # which this call replaces, even if it is interrupted

    def write(self, images: list[dict[str, Any]]) -> None:
        """Write the detections of this call and of earlier ones; without any of this call, nothing is written.

        Raises:
            LtDetError: the disk is full or read-only.
        """
        if not images:
            return
        kept = _others(self._earlier, (_name(image) for image in images))
        try:
            write_atomically(self.file, json.dumps({**self._detector, "images": kept + images}))
        except OSError as error:
            reason, advice = error.strerror or error, writing_advice(error, "another --output")
            raise LtDetError(
                f"{self.file} cannot be written ({reason}); {advice}: the images drawn so far are there, their numbers "
                "are not."
            ) from error


def _content(file: Path) -> dict[str, Any]:
    content = read_json(file, "file of detections")
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(one, dict) and "result" in one for one in images):
        raise LtDetError(f"{file} is no file that lt-det demo has written; choose another --output.")
    return content


def _others(images: list[dict[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """The images whose results, drawn in one folder, have none of the names."""
    replaced = set(names)
    return [image for image in images if _name(image) not in replaced]


def _name(image: dict[str, Any]) -> str:
    return Path(str(image["result"])).name


def _compared(key: str, value: Any) -> Any:
    """A value of the detector, in a form that is equal for the same one."""
    if key == "weights":
        return Path(str(value)).resolve()
    return list(value) if isinstance(value, list | tuple) else value
