"""Test-time augmentation (TEST.AUG): Detectron2's, with lt_det's evaluation."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN

from lt_det.errors import LtDetError

logger = logging.getLogger(__name__)

# Beside the plain evaluation. The folder is laid out like an OUTPUT_DIR, for `lt-det report` and `lt-det compare`.
FOLDER = "inference_TTA"
SUFFIX = "_TTA"


def augmented_folder(output_dir: str, dataset_name: str) -> str:
    """Where the augmented evaluation of a dataset is written."""
    return str(Path(output_dir) / FOLDER / "inference" / dataset_name)


def check_augmentation(cfg: Any, build_evaluator: Callable[..., Any] | None = None) -> None:
    """Check TEST.AUG, if it is enabled, against the network.

    Args:
        cfg: see above.
        build_evaluator: a trainer's method of this name, which gets the folder as third argument.

    Raises:
        LtDetError: Detectron2's GeneralizedRCNNWithTTA cannot augment this network, a size is not one, or
            `build_evaluator` has no third argument.
    """
    if not cfg.TEST.AUG.ENABLED:
        return
    reason = _reason_against(cfg)
    if reason:
        raise LtDetError(
            f"TEST.AUG.ENABLED is True, but Detectron2's test-time augmentation does not work with {reason}; set "
            "TEST.AUG.ENABLED to False."
        )
    sizes, largest = cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE
    if not sizes or not all(_is_size(size) for size in (*sizes, largest)):
        raise LtDetError(
            f"TEST.AUG.MIN_SIZES is {tuple(sizes)} and TEST.AUG.MAX_SIZE {largest}; write sizes in pixels, 1 or more."
        )
    if build_evaluator is not None and len(inspect.signature(build_evaluator).parameters) < 3:
        raise LtDetError(
            "TEST.AUG.ENABLED is True, but the trainer's build_evaluator takes no folder, and the augmented evaluation "
            "would overwrite the plain one; declare build_evaluator(cls, cfg, dataset_name, output_folder=None)."
        )


def warn_of_plain_predictions(cfg: Any) -> None:
    """Log that a command other than training and ``--eval-only`` predicts without the augmentation of TEST.AUG."""
    if cfg.TEST.AUG.ENABLED:
        logger.warning(
            "TEST.AUG.ENABLED is True, but only lt-det train (also with --eval-only) evaluates with test-time "
            "augmentation; this command predicts without it."
        )


def _reason_against(cfg: Any) -> str:
    name = cfg.MODEL.META_ARCHITECTURE
    if name in META_ARCH_REGISTRY and not _detects_given_boxes(META_ARCH_REGISTRY.get(name)):
        return f"MODEL.META_ARCHITECTURE {name}"
    if cfg.MODEL.KEYPOINT_ON:
        return "keypoints (MODEL.KEYPOINT_ON)"
    if cfg.MODEL.LOAD_PROPOSALS:
        return "proposals from a file (MODEL.LOAD_PROPOSALS)"
    if "Rotated" in cfg.MODEL.ANCHOR_GENERATOR.NAME:
        return f"rotated boxes (MODEL.ANCHOR_GENERATOR.NAME {cfg.MODEL.ANCHOR_GENERATOR.NAME})"
    return ""


def _detects_given_boxes(network: Any) -> bool:
    is_rcnn = inspect.isclass(network) and issubclass(network, GeneralizedRCNN)
    return is_rcnn and "detected_instances" in inspect.signature(network.inference).parameters


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0
