"""Which images an evaluator has been given, so that each counts once.

A sampler that pads its processes to the same number of images, such as torch's DistributedSampler, repeats some. An
object of an image that is matched twice would count as found twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lt_det.errors import LtDetError
from lt_det.evaluation._arrays import Ints
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.tide import Errors
from lt_det.evaluation.protocols import Task
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)


class ProcessedImages:
    """The images of one process. The detections of an image may come in several parts, such as those of its tiles.

    Attributes:
        repeated: images whose detections came again.
    """

    def __init__(self) -> None:
        self._parts: dict[int, set[int]] = {}  # hashes of the detections of each image
        self._matched: set[int] = set()
        self.repeated: set[int] = set()

    def is_new(self, image: int, image_id: Any, detections: Detections) -> bool:
        """Whether these detections are to be counted: False if they came before.

        Args:
            image: index of the image in the ground truth.
            image_id: of the same image, for the message.
            detections: of this image.

        Raises:
            LtDetError: other detections of the image have been matched already.
        """
        parts = self._parts.setdefault(image, set())
        columns = (detections.boxes, detections.scores, detections.classes)
        this = hash(b"".join(column.tobytes() for column in columns))
        if this in parts:
            if len(detections):
                self.repeated.add(image)
            return False
        if image in self._matched and len(detections):
            raise LtDetError(
                f"Image {image_id} is evaluated a second time, with other detections; call reset() before another "
                "evaluation, and pass the detections of an image one after the other."
            )
        parts.add(this)
        return True

    def mark_matched(self) -> None:
        """The images so far have been matched; other detections of them come too late."""
        self._matched.update(self._parts)

    @property
    def images(self) -> Ints:
        """Their indices in the ground truth, ascending."""
        return np.asarray(sorted(self._parts), dtype=np.int64)


@dataclass(frozen=True)
class PartialResult:
    """The images of one process.

    Attributes:
        matches, errors: by task.
        num_detections: in these images.
        images: their indices in the ground truth, ascending.
        repeated: how many of them the process has got again.
    """

    matches: dict[Task, Matches]
    errors: dict[Task, Errors]
    num_detections: int
    images: Ints
    repeated: int


def each_image_once(
    gathered: Mapping[int, PartialResult], num_images: int, dataset: str, results_file: str
) -> dict[int, PartialResult]:
    """The results of all ranks, without the images that a rank before has processed.

    Logs how many images came again, and whether some never came.

    Args:
        gathered: by rank.
        num_images: of the dataset.
        dataset, results_file: names, for the messages.
    """
    processed = np.zeros(num_images, dtype=np.bool_)
    results, again = {}, 0
    for rank, part in sorted(gathered.items()):
        if processed[part.images].any():
            again += int(processed[part.images].sum())
            matches = {task: found.select(~processed[found.images]) for task, found in part.matches.items()}
            errors = {task: found.select(~processed[found.images]) for task, found in part.errors.items()}
            results[rank] = replace(part, matches=matches, errors=errors)
        else:
            results[rank] = part
        processed[part.images] = True
    if again:
        logger.warning(
            "%s of %s came in more than one process, as with a sampler that repeats images to give every process the "
            "same number (Detectron2's InferenceSampler does not); the metrics count each once, but %s has them twice.",
            count_of(again, "image"),
            dataset,
            results_file,
        )
    if repeated := sum(part.repeated for part in gathered.values()):
        logger.warning(
            "%s of %s came more than once, with the same detections; each counts once.",
            count_of(repeated, "image"),
            dataset,
        )
    advice = "For AP of some images, register a json of these images alone."
    warn_of_missing_images(int(processed.sum()), num_images, dataset, advice)
    return results


def warn_of_missing_images(evaluated: int, num_images: int, dataset: str, advice: str) -> None:
    """Log if only some images were evaluated.

    Args:
        evaluated: number of images that came.
        num_images: of the ground truth.
        dataset: its name, for the message.
        advice: a sentence on what to do if this was not intended.
    """
    if 0 < evaluated < num_images:
        logger.warning(
            "%d of the %d images of %s were evaluated; the objects of the others count as missed. %s",
            evaluated,
            num_images,
            dataset,
            advice,
        )
