"""What `lt-det init` says: what it saw and chose, and what may need a look."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.io.annotations.nearby_files import NearbyFiles
from lt_det.starting_config.choices import Chosen, DataSet, flipped_keypoints
from lt_det.starting_config.detector import Detector
from lt_det.starting_config.image_folders import ImageFolder
from lt_det.starting_config.input_size import TINY
from lt_det.starting_config.long_tail import has_long_tail
from lt_det.starting_config.machine import Machine
from lt_det.terminal import count_of

_FEW = 5  # training images: a class with fewer can hardly be learned, or evaluated
_MANY_TINY = 0.05  # fraction of the objects
_SHOWN = 8  # names of classes


def summary_of(train: DataSet, val: DataSet, detector: Detector, chosen: Chosen, machine: Machine) -> list[str]:
    """Sentences about the data and the most important choices."""
    survey, stats, size, schedule = train.survey, train.survey.stats, chosen.input_size, chosen.schedule
    seen = stats.image_counts[stats.image_counts > 0]
    low, middle, high = np.quantile(size.sizes, (0.05, 0.5, 0.95))
    width, height = np.median(survey.image_sizes, axis=0)
    value = {key: choice.value for key, choice in chosen.choices.items()}
    predicted = ["boxes"] + ["masks"] * value["MODEL.MASK_ON"] + ["keypoints"] * value.get("MODEL.KEYPOINT_ON", False)
    return [
        f"Training: {count_of(len(survey.files), 'image')}, {count_of(len(survey.box_sizes), 'object')} of "
        f"{count_of(stats.num_classes, 'class')} with {seen.min()} to {seen.max()} images each.",
        f"Validation: {count_of(len(val.survey.files), 'image')}, {count_of(len(val.survey.box_sizes), 'object')}.",
        f"Detector: {detector.name} for {' and '.join(predicted)}, on {machine.device}.",
        f"Input: shorter edge {size.test} (images: {width:.0f} x {height:.0f} pixels, medians); objects then have a "
        f"median size of {middle:.0f} pixels (nine in ten: {low:.0f} to {high:.0f}).",
        f"Schedule: {count_of(round(schedule.epochs), 'epoch')}, {count_of(schedule.iterations, 'iteration')} of "
        f"{count_of(chosen.batch, 'image')}; evaluation every {count_of(schedule.period, 'iteration')}.",
        f"{'Long tail' if has_long_tail(stats) else 'No long tail'}: {value['DATALOADER.SAMPLER_TRAIN']}, buckets by "
        f"{_of_buckets(value)}, score threshold {value['MODEL.ROI_HEADS.SCORE_THRESH_TEST']:g}, softmax loss.",
    ]


def _of_buckets(value: Mapping[str, Any]) -> str:
    if groups := value.get("TEST.BUCKETS.EQUAL_GROUPS"):
        return f"{groups} groups"
    if (edges := value.get("TEST.BUCKETS.EDGES")) is not None:
        return f"edges {edges} in {value['TEST.BUCKETS.BY']}"
    return "the 'frequency' of the categories"


def doubts_of(
    train: DataSet,
    val: DataSet,
    folders: tuple[ImageFolder, ImageFolder],
    detector: Detector,
    chosen: Chosen,
    machine: Machine,
) -> list[str]:
    """Sentences about what is missing, guessed, or may give a bad detector.

    Args:
        train, val, detector, chosen, machine: what the config is made of.
        folders: of the training and validation images.
    """
    return [
        *_of_images(train, val, folders),
        *_of_classes(train, val),
        *_of_objects(chosen),
        *_of_detector(train, detector, machine),
    ]


def _of_images(train: DataSet, val: DataSet, folders: tuple[ImageFolder, ImageFolder]) -> Iterator[str]:
    said = set()
    for data, folder, option in ((train, folders[0], "--images"), (val, folders[1], "--val-images")):
        files, missing = data.survey.files, set(folder.missing)
        absent = [name for name in files if name in missing]
        if len(absent) == len(files):
            text = f"None of the images was found ({files[0]}, ...); put them into {folder.path}, or give {option} DIR."
            if nearby := NearbyFiles(folder.path).find(files[0]):
                text = f"None of the images was found ({files[0]}, ...), but {nearby[0]} was: {nearby[1]}."
        elif absent:
            text = (
                f"{len(absent)} of {len(files)} images of {data.json_file.name} are not in {folder.path}, such as "
                f"{absent[0]}."
            )
        elif folder.guessed:
            text = f"The images were found in {folder.path}; give {option} DIR if that is the wrong folder."
        else:
            continue
        if folder.path not in said:
            yield text
        said.add(folder.path)
    paths = {os.path.join(folders[0].path, name) for name in train.survey.files}
    shared = [name for name in val.survey.files if os.path.join(folders[1].path, name) in paths]
    if shared:
        yield (
            f"{len(shared)} of {len(val.survey.files)} validation images are training images, too (such as "
            f"{shared[0]}); AP on them does not show how the detector generalizes."
        )


def _of_classes(train: DataSet, val: DataSet) -> Iterator[str]:
    images, names = train.survey.stats.image_counts, train.survey.stats.names
    unevaluated = (val.survey.stats.image_counts == 0) & (images > 0)
    for which, what in (
        (images == 0, "no training image and cannot be learned"),
        ((images > 0) & (images < _FEW), f"fewer than {_FEW} training images and will hardly be learned"),
        (unevaluated, "no validation image, so AP says nothing about them"),
    ):
        if which.any():
            verb = "has" if which.sum() == 1 else "have"
            yield f"{count_of(int(which.sum()), 'class')} {verb} {what}: {_names(names, which)}."


def _names(names: Sequence[str], which: NDArray[np.bool_]) -> str:
    some = [name for name, chosen in zip(names, which, strict=True) if chosen]
    more = f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
    return ", ".join(some[:_SHOWN]) + more


def _of_objects(chosen: Chosen) -> Iterator[str]:
    size = chosen.input_size
    if size.tiny >= _MANY_TINY:
        larger = "larger INPUT sizes or" if size.test < size.own else "images of higher resolution or"
        yield (
            f"{size.tiny:.0%} of the objects are smaller than {TINY} pixels after resizing, and will rarely be found; "
            f"{larger} cutting the images into tiles would help."
        )


def _of_detector(train: DataSet, detector: Detector, machine: Machine) -> Iterator[str]:
    survey = train.survey
    yield from detector.doubts
    if "MODEL.TIMM.NAME" in detector.keys and find_spec("timm") is None:
        yield "The small detector needs timm: pip install 'lt-det[small]'"
    if detector.num_classes == survey.stats.num_classes:
        yield (
            f"The weights have a classifier of {count_of(detector.num_classes, 'class')} and background, as your data "
            "need it, so it is kept; if these are other classes, or if its last row is not that of background, see "
            "docs/starting_from_a_detector.md."
        )
    if detector.finetunes and not machine.gpu:
        yield f"Training {detector.name} on a CPU takes days; --small chooses a detector that trains in hours."
    if survey.with_keypoints and not survey.most_have_keypoints:
        why = (
            "most objects have none" if survey.keypoints else "the categories have no keypoint names, or different ones"
        )
        yield f"{count_of(survey.with_keypoints, 'object')} with keypoints: keypoints are not trained, because {why}."
    if survey.most_have_keypoints and flipped_keypoints(survey) is None:
        yield (
            f"The names of the keypoints ({', '.join(survey.keypoints)}) do not show which of them swap in a mirrored "
            "image, so images are not flipped; see KEYPOINT_FLIP_MAP in docs/data.md."
        )
