"""Every config key of lt_det, once."""

from __future__ import annotations

from typing import Any

from fvcore.common.config import CfgNode

from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, loss_class


def add_lt_config(cfg: Any) -> None:
    """Add lt_det's keys to a Detectron2 config. Call it between `get_cfg()` and `merge_from_file`."""
    node = type(cfg) if isinstance(cfg, CfgNode) else CfgNode  # Detectron2's own subclass, wherever it lives

    cfg.MODEL.LONG_TAIL = node()
    # "linear", "cosine", or "auto": the layer the loss was published with.
    cfg.MODEL.LONG_TAIL.CLASSIFIER = "auto"
    # Counts of the training classes: a COCO- or LVIS-format json, or a file written by ClassStats.save.
    # Empty: DATASETS.TRAIN is counted (and kept in OUTPUT_DIR/class_stats.json).
    cfg.MODEL.LONG_TAIL.CLASS_STATS = ""

    # Deferred re-weighting by class, with a loss that has one value per RoI (the softmax family).
    cfg.MODEL.LONG_TAIL.REWEIGHTING = node()
    # "never", "first_lr_step", a share of the training (up to 1), or an iteration.
    cfg.MODEL.LONG_TAIL.REWEIGHTING.START = "never"
    cfg.MODEL.LONG_TAIL.REWEIGHTING.BETA = 0.9999

    # One node per loss, from the loss's own constructor: MODEL.LONG_TAIL.LOSS.EQL.FREQUENCY_THRESHOLD and so on.
    cfg.MODEL.LONG_TAIL.LOSS = node()
    cfg.MODEL.LONG_TAIL.LOSS.NAME = "softmax"
    for name, loss in LOSSES.items():
        defaults = {key.upper(): value for key, value in loss.hyperparameters().items()}
        cfg.MODEL.LONG_TAIL.LOSS[name.upper()] = node(defaults)

    # Data sets to register, under any name: REGISTER: {my_train: {JSON: path, IMAGES: folder}}.
    cfg.DATASETS.REGISTER = node(new_allowed=True)

    # Buckets of the report. Default: LVIS's rare (1-10 training images), common (11-100), frequent (>100).
    cfg.TEST.BUCKETS = node()
    cfg.TEST.BUCKETS.BY = "images"  # or "instances"
    cfg.TEST.BUCKETS.EDGES = [10, 100]  # inclusive upper edges
    cfg.TEST.BUCKETS.NAMES = []  # empty: rare, common, frequent for two edges, else the ranges
    cfg.TEST.BUCKETS.EQUAL_GROUPS = 0  # above 0: that many groups of equally many classes, instead of edges
    cfg.TEST.BUCKETS.MAP = ""  # json {class name: bucket name}, instead of edges


def reweighting_start(cfg: Any) -> float | None:
    """Share of the training at which re-weighting begins, or None for never.

    Raises:
        LtDetError: REWEIGHTING.START is no such point of the training.
    """
    start, max_iter = str(cfg.MODEL.LONG_TAIL.REWEIGHTING.START), cfg.SOLVER.MAX_ITER
    if start == "never":
        return None
    if start == "first_lr_step":
        return min(min(cfg.SOLVER.STEPS, default=max_iter) / max_iter, 1.0)
    try:
        point = float(start)
    except ValueError:
        point = -1.0
    if not 0 <= point <= max_iter:
        raise LtDetError(
            f"MODEL.LONG_TAIL.REWEIGHTING.START is {start}; write never, first_lr_step, a share of the training up to "
            f"1, or an iteration up to SOLVER.MAX_ITER ({max_iter})."
        )
    return point if point <= 1 else point / max_iter


def loss_hyperparameters(cfg: Any) -> dict[str, Any]:
    """Hyper-parameters of the chosen loss as keyword arguments for its constructor.

    Raises:
        LtDetError: MODEL.LONG_TAIL.LOSS.NAME is no loss.
    """
    node = cfg.MODEL.LONG_TAIL.LOSS
    return {key: node[node.NAME.upper()][key.upper()] for key in loss_class(node.NAME).hyperparameters()}
