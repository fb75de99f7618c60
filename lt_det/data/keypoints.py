"""Keypoint sets of registered datasets: the names of the keypoints, and which of them a mirrored image swaps."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.data.formats import annotations_of
from lt_det.errors import LtDetError
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

# "left_eye", "eye_left", "eyeLeft" and "LEFT EYE", but not "bright" or "cleft".
_SIDE = re.compile(r"(?<![A-Za-z])(?:left|right)|(?<![A-Za-z])(?:LEFT|RIGHT)|Left|Right")
_MIRRORED = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}

_derived: set[str] = set()  # datasets whose flip map in the metadata is not the user's


def prepare_keypoints(cfg: Any) -> None:
    """Set the metadata that Detectron2's mapper needs to train keypoints, and check them against the config.

    Names come from ``categories[].keypoints``. Pairs that a horizontal flip swaps are those of KEYPOINT_FLIP_MAP or,
    without it, the names that differ by left and right only. Does nothing if MODEL.KEYPOINT_ON is False.

    Raises:
        LtDetError: a training set has no names, other names than the other sets, or another number of them than
            NUM_KEYPOINTS; the pairs do not fit the names, or cannot be derived from them.
    """
    if not cfg.MODEL.KEYPOINT_ON:
        return
    first: list[str] | None = None
    for name in cfg.DATASETS.TRAIN:
        if name not in DatasetCatalog:
            continue  # `check_datasets` reports it
        names = keypoint_names(name)
        if names is None:
            raise LtDetError(
                f"MODEL.KEYPOINT_ON is True, but no category of {MetadataCatalog.get(name).get('json_file', name)} "
                f"names its keypoints; list them in categories[].keypoints, or train '{name}' without KEYPOINT_ON."
            )
        expected = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        if len(names) != expected:
            raise LtDetError(
                f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {expected}, but '{name}' has "
                f"{count_of(len(names), 'keypoint')} ({', '.join(names)}); set it to {len(names)}."
            )
        if first is not None and names != first:
            raise LtDetError(
                f"'{cfg.DATASETS.TRAIN[0]}' has the keypoints {', '.join(first)}, but '{name}' has "
                f"{', '.join(names)}; train on sets with the same keypoints."
            )
        first = names
        _set_flip_map(name, names, flips=cfg.INPUT.RANDOM_FLIP == "horizontal")


def keypoint_names(name: str) -> list[str] | None:
    """The names of a registered dataset's keypoints, from its metadata or its categories; None if there are none.

    Names from the categories are written into the metadata.

    Raises:
        LtDetError: categories with different keypoints, names that are no texts or occur twice, an annotation with
            another number of keypoints; see also `annotations_of`.
    """
    metadata = MetadataCatalog.get(name)
    known = metadata.get("keypoint_names")
    if known is None and metadata.get("json_file"):
        data = annotations_of(name)
        known = names_of_categories(data["categories"], metadata.json_file)
        if known is not None:
            _check_annotations(data["annotations"], known, metadata.json_file)
            metadata.set(keypoint_names=known)
    return None if known is None else list(known)


def names_of_categories(categories: Sequence[Mapping[str, Any]], where: str) -> list[str] | None:
    """The names in ``categories[].keypoints``, which must be the same wherever there are any.

    Raises:
        LtDetError: see `keypoint_names`.
    """
    found: tuple[Any, list[str]] | None = None
    for category in categories:
        names = category.get("keypoints")
        if not names:
            continue
        if not (isinstance(names, list) and all(isinstance(n, str) for n in names) and len({*names}) == len(names)):
            raise LtDetError(
                f"{where}: category '{category.get('name')}' has keypoints {names}; write a list of different names."
            )
        if found is not None and names != found[1]:
            raise LtDetError(
                f"{where}: category '{category.get('name')}' has the keypoints {', '.join(names)}, but '{found[0]}' "
                f"has {', '.join(found[1])}; Detectron2's keypoint head has one set for all classes."
            )
        found = (category.get("name"), names)
    return None if found is None else found[1]


def _check_annotations(annotations: Sequence[Mapping[str, Any]], names: Sequence[str], where: str) -> None:
    """Raise unless each annotation has no keypoints, or x, y and visibility of each."""
    for annotation in annotations:
        values = annotation.get("keypoints")
        if not values:
            continue
        numbers = isinstance(values, list) and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
        if not numbers or len(values) != 3 * len(names):
            raise LtDetError(
                f"{where}: the keypoints of annotation {annotation.get('id')} are not {3 * len(names)} numbers, x, y "
                f"and visibility of each of {', '.join(names)}; correct the file."
            )


def check_flip_map(name: str, pairs: Any) -> list[tuple[str, str]]:
    """KEYPOINT_FLIP_MAP as pairs of names.

    Raises:
        LtDetError: it is no list of pairs of texts, or a name is in two of them.
    """
    valid = isinstance(pairs, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(side, str) for side in pair)
        for pair in pairs
    )
    sides = [side for pair in pairs for side in pair] if valid else []
    if not valid or len({*sides}) < len(sides):
        raise LtDetError(
            f"Dataset '{name}': KEYPOINT_FLIP_MAP is {pairs}; write pairs of keypoint names, each name once: "
            "[[left_eye, right_eye], ...], or [] if a mirrored image swaps none."
        )
    return [(first, second) for first, second in pairs]


def mirrored_pairs(names: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The pairs of names that differ by left and right only, and the names with a side that have no counterpart."""
    pairs, alone = [], []
    for name in names:
        other = _SIDE.sub(lambda side: _MIRRORED[side[0]], name)
        if other == name:
            continue
        if other not in names:
            alone.append(name)
        elif names.index(name) < names.index(other):
            pairs.append((name, other))
    return pairs, alone


def forget_derived_pairs(name: str) -> None:
    """Drop flip pairs that were derived from the names of a dataset's keypoints, before the user's take their place."""
    if name in _derived:
        _derived.remove(name)
        vars(MetadataCatalog.get(name)).pop("keypoint_flip_map", None)  # `set` refuses to change a value


def _set_flip_map(name: str, names: Sequence[str], flips: bool) -> None:
    metadata = MetadataCatalog.get(name)
    pairs = metadata.get("keypoint_flip_map")
    if pairs is not None and name not in _derived:
        unknown = [side for pair in pairs for side in pair if side not in names]
        if unknown:
            raise LtDetError(
                f"Dataset '{name}': KEYPOINT_FLIP_MAP has {', '.join(unknown)}, but the keypoints are "
                f"{', '.join(names)}; correct the pairs."
            )
        return
    derived, alone = mirrored_pairs(names)
    if flips and alone:
        raise LtDetError(
            f"Dataset '{name}': the keypoint {alone[0]} has no counterpart for horizontal flips; list all pairs in "
            f"DATASETS.REGISTER.{name}.KEYPOINT_FLIP_MAP, such as [[left_eye, right_eye], ...], or set "
            "INPUT.RANDOM_FLIP to none."
        )
    if flips and derived:
        swapped = ", ".join(f"{first} and {second}" for first, second in derived)
        logger.info("Keypoints of '%s' that a mirrored image swaps, by their names: %s.", name, swapped)
    elif flips:
        logger.warning(
            "Images of '%s' are flipped, but no keypoints (%s) are swapped. List left and right ones in "
            "DATASETS.REGISTER.%s.KEYPOINT_FLIP_MAP ([] confirms that there are none), or set INPUT.RANDOM_FLIP to "
            "none.",
            name,
            ", ".join(names),
            name,
        )
    metadata.set(keypoint_flip_map=derived)
    _derived.add(name)
