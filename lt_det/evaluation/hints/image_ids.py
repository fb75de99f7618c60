"""Image ids that exist, but belong to other images: detections that fit the objects of those."""

from __future__ import annotations

import numpy as np

from lt_det.evaluation._arrays import Ints
from lt_det.evaluation.hints.image_id_readings import ADVICE, ImageIds
from lt_det.evaluation.hints.sample import Sample, is_better
from lt_det.evaluation.matching.detections import Detections


def image_hint(detections: Detections, images: ImageIds, sample: Sample) -> str | None:
    """A sentence if detections fit the objects of other images better, for one meaning of their image ids.

    Args:
        detections: whose image ids are all known.
        images: of the ground truth.
        sample: of the detections, with boxes as x, y, width, height.
    """
    total, own = len(sample), detections.images[sample.detections]
    as_written = _fitting(detections, sample)
    if not total or as_written > total / 2:
        return None
    ids = sample.truth.image_ids.tolist()
    index = {id_: i for i, id_ in enumerate(ids)}
    best, best_words = 0, ""
    for words, meaning in images.readings().items():
        other: Ints = np.asarray([index.get(meaning(id_), -1) for id_ in ids], dtype=np.int64)
        if (other[own] == own).all():
            continue
        number = _fitting(detections, sample.in_images(other[own]))
        if number > best:
            best, best_words = number, words
    if not is_better(best, as_written, total):
        return None
    return (
        f"Of the {total} highest-scoring detections, {as_written} overlap an object of their class in the image with "
        f"their id, but {best} would if their image ids were {best_words}; {ADVICE}."
    )


def _fitting(detections: Detections, sample: Sample) -> int:
    """How many of the sample overlap an object of their class in the image that the sample puts them in."""
    classes = detections.classes[sample.detections][sample.pair]
    return sample.count(sample.overlaps(sample.boxes) & (classes == sample.truth.classes[sample.target]))
