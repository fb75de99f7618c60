"""The classification loss of a config before its first step, computed with its own box predictor."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from torch import Tensor

from lt_det.modeling import LongTailPredictor
from lt_det.statistics.class_stats import ClassStats

_ROIS = 1024
# Of RoIs: at first, hardly more than the annotated boxes themselves, 8 of 512 or more; at most POSITIVE_FRACTION.
_FOREGROUND = 1 / 64
_SCALE = 0.1  # of the features, which hardly matter as long as they are not large
_BATCHES = 3  # the state of EQLv2 and Seesaw changes with each


def initial_loss(cfg: Any, stats: ClassStats) -> tuple[float, float]:
    """The range of loss_cls before the first step, over the fractions of foreground that occur.

    The features are random. They hardly matter, because a classifier's first weights are small, and the logits of a
    cosine classifier are bounded. The classes of foreground RoIs are drawn by the class counts.

    Args:
        cfg: a yaml config with its predictor's keys.
        stats: counts of the training classes; without counts of instances, those of images serve.
    """
    if stats.instance_counts is None:
        stats = ClassStats(stats.names, stats.image_counts, stats.image_counts, stats.num_images, stats.source)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        file = Path(folder) / "class_stats.json"
        stats.save(file)
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.LONG_TAIL.CLASS_STATS = str(file)
        losses = [
            loss
            for fraction in (_FOREGROUND, cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION)
            for loss in _losses(
                LongTailPredictor(cfg, ShapeSpec(channels=cfg.MODEL.ROI_BOX_HEAD.FC_DIM)), stats, fraction
            )
        ]
    return min(losses), max(losses)


@torch.no_grad()
def _losses(predictor: LongTailPredictor, stats: ClassStats, fraction: float) -> list[float]:
    """Of a few batches with a fraction of foreground."""
    loss = predictor.loss.train()
    loss.progress = 0.0
    dimension = predictor.cls_score.in_features
    found = []
    for _ in range(_BATCHES):
        features = _SCALE * torch.randn(_ROIS, dimension).relu()
        value = loss(predictor.cls_score(features), _targets(stats, fraction), features)
        found.append(float(value) * predictor.loss_weight.get("loss_cls", 1.0))
    return found


def _targets(stats: ClassStats, fraction: float) -> Tensor:
    """(N,) classes; background is the number of classes."""
    targets = torch.full((_ROIS,), stats.num_classes)
    counts = torch.as_tensor(stats.counts("instances"), dtype=torch.float64)
    foreground = round(fraction * _ROIS)
    targets[:foreground] = torch.multinomial(counts, foreground, replacement=True)
    return targets
