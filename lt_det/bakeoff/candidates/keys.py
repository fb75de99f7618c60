"""The config keys that a candidate may set: those that the training on cached features or the evaluation really use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lt_det.errors import LtDetError
from lt_det.losses import loss_class

LOSS = "MODEL.LONG_TAIL.LOSS"
LOSS_NAME = f"{LOSS}.NAME"
REWEIGHTING = "MODEL.LONG_TAIL.REWEIGHTING"

_CLASSIFIER = ("MODEL.LONG_TAIL.CLASSIFIER", "MODEL.LONG_TAIL.COSINE_SCALE")
_CLIPPING = "SOLVER.CLIP_GRADIENTS"
_SOLVER = (
    "SOLVER.MOMENTUM",
    "SOLVER.NESTEROV",
    "SOLVER.WEIGHT_DECAY",
    "SOLVER.WEIGHT_DECAY_BIAS",
    "SOLVER.BIAS_LR_FACTOR",
    "SOLVER.GAMMA",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.WARMUP_FACTOR",
    f"{_CLIPPING}.ENABLED",
    f"{_CLIPPING}.CLIP_TYPE",
    f"{_CLIPPING}.CLIP_VALUE",
    f"{_CLIPPING}.NORM_TYPE",
)
_REPEAT = ("DATALOADER.REPEAT_THRESHOLD", "DATALOADER.REPEAT_SQRT")
_DETECTIONS = (
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST",
    "TEST.DETECTIONS_PER_IMAGE",
)
_USED = {*_CLASSIFIER, *_SOLVER, *_REPEAT, *_DETECTIONS}
_IN_WORDS = ", ".join([f"{LOSS}.*", *_CLASSIFIER, f"{REWEIGHTING}.*", *_SOLVER, _REPEAT[0], *_DETECTIONS])

_NULLABLE = (f"{REWEIGHTING}.START", "MODEL.LONG_TAIL.COSINE_SCALE", "SOLVER.WEIGHT_DECAY_BIAS")


def check_keys(overrides: Mapping[str, Any], loss: str, sampler: str) -> None:
    """Refuse overrides that the bake-off does not use, because the written detector would have other metrics.

    Args:
        overrides: keys that the config has, and values of their types.
        loss: name of the candidate's loss.
        sampler: the candidate's.

    Raises:
        LtDetError: a key that a candidate may not set, that belongs to another loss or sampler, or an invalid value of
            the optimizer.
    """
    own = {f"{LOSS}.{loss.upper()}.{name.upper()}" for name in loss_class(loss).hyperparameters()}
    for key, value in overrides.items():
        if key.startswith(f"{LOSS}."):
            if key != LOSS_NAME and key not in own:
                raise LtDetError(f"{key} has no effect on the loss {loss}; leave it out, or choose its loss.")
        elif key not in _USED and not key.startswith(f"{REWEIGHTING}."):
            raise LtDetError(f"{key} cannot be set by a candidate; overrides may set {_IN_WORDS}.")
        if key in _REPEAT and sampler != "repeat_factor":
            raise LtDetError(f"{key} has no effect on the sampler {sampler}; set sampler to repeat_factor.")
        if key == f"{_CLIPPING}.CLIP_TYPE" and value not in ("value", "norm"):
            raise LtDetError(f"{key} is '{value}'; write value or norm.")
        if key == "SOLVER.WEIGHT_DECAY_BIAS" and not isinstance(value, int | float | None):
            raise LtDetError(f"{key} is '{value}'; write a number.")


def check_value(key: str, value: Any, old: Any) -> None:
    """Refuse a missing value and nan, which the config accepts.

    Args:
        key: of the config.
        value: its new value.
        old: its present one.

    Raises:
        LtDetError: the value is missing or nan.
    """
    if value is None and old is not None and key not in _NULLABLE:
        raise LtDetError(f"{key} has no value; write one, or leave the key out.")
    if isinstance(value, float) and value != value:
        raise LtDetError(f"{key} is nan; write a number.")
