"""INPUT.FORMAT, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD that pretrained weights were trained with, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lt_det.doctor.finding import Finding
from lt_det.modeling.backbones.timm_weights import PREFIX

_TOLERANCE = 1.0  # of 255: statistics are often rounded


class PixelStatistics(NamedTuple):
    """Channels in the order of `format`; mean and standard deviation of pixels from 0 to 255."""

    format: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_RGB = PixelStatistics("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))  # torchvision's
_BGR = PixelStatistics("BGR", _RGB.mean[::-1], (1.0, 1.0, 1.0))  # MSRA's ResNets, converted from Caffe
_BGR_SCALED = PixelStatistics("BGR", _RGB.mean[::-1], (57.375, 57.12, 58.395))  # FAIR's ResNeXts, from Caffe2
# Of Detectron2's model zoo (MODEL_ZOO.md) and torchvision; the first that is found in MODEL.WEIGHTS counts.
_BY_NAME = (
    (r"new_baselines/", _RGB),
    (r"torchvision/R-\d+\.pkl|(^|/)(resnet|resnext|wide_resnet)\d+[\w]*-[0-9a-f]{8}\.pth", _RGB),
    (r"FAIR/X-\d+|(^|/)X-101-32x8d\.pkl|/COCO-\w+/\w*_X_101", _BGR_SCALED),
    (r"MSRA/R-\d+\.pkl|(^|/)R-(50|101)\.pkl|/COCO-\w+/\w*_R_(50|101)", _BGR),
)


def pixel_statistics_of(weights: str) -> PixelStatistics | None:
    """Those of weights with a known name; None for all others, such as checkpoints of trainings.

    Args:
        weights: MODEL.WEIGHTS: an address, or a file with the name under which it was published.
    """
    path = weights.partition("?")[0]
    for pattern, statistics in _BY_NAME:
        if re.search(pattern, path):
            return statistics
    return _of_timm(path.removeprefix(PREFIX) if path.startswith(PREFIX) else Path(path).stem)


def unfit_pixel_statistics(cfg: Any) -> Finding | None:
    """The finding where the config normalizes images otherwise than its pretrained weights expect."""
    expected = pixel_statistics_of(cfg.MODEL.WEIGHTS or "")
    if expected is None:
        return None
    found = PixelStatistics(cfg.INPUT.FORMAT, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))
    if found.format == expected.format and _close(found.mean, expected.mean) and _close(found.std, expected.std):
        return None
    return Finding(
        "pixels",
        f"{_in_words(found)}, but {cfg.MODEL.WEIGHTS} was trained with other values",
        f"set {_in_words(expected)}; with other values, the pretrained features are less useful",
    )


def _of_timm(name: str) -> PixelStatistics | None:
    try:
        import timm
    except ImportError:
        return None
    if not (name and timm.is_model(name)):
        return None
    try:
        settings = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a model of timm, but no weights of it: a file resnet50.my_run.pth
        return None
    if settings is None:
        return None
    mean, std = (tuple(255 * value for value in values) for values in (settings.mean, settings.std))
    return PixelStatistics("RGB", mean, std)


def _close(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(abs(x - y) <= _TOLERANCE for x, y in zip(a, b, strict=True))


def _in_words(statistics: PixelStatistics) -> str:
    mean, std = ([float(f"{value:.6g}") for value in values] for values in (statistics.mean, statistics.std))
    return f"INPUT.FORMAT {statistics.format}, MODEL.PIXEL_MEAN {mean}, MODEL.PIXEL_STD {std}"
