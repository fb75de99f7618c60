"""Schedules written for another number of processes (SOLVER.REFERENCE_WORLD_SIZE)."""

from __future__ import annotations

from typing import Any

from detectron2.engine import DefaultTrainer

from lt_det.errors import LtDetError
from lt_det.terminal import count_of

_SCALED = (
    "SOLVER.IMS_PER_BATCH",
    "SOLVER.BASE_LR",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.STEPS",
    "SOLVER.MAX_ITER",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
    "DATALOADER.SAMPLER_START",
    "MODEL.LONG_TAIL.REWEIGHTING.START",
)


def scaled_to_processes(cfg: Any, processes: int) -> Any:
    """The config as Detectron2 scales it by SOLVER.REFERENCE_WORLD_SIZE (0: unchanged).

    Goyal et al. 2017, https://arxiv.org/abs/1706.02677: batch and learning rate grow with the number of processes, and
    everything in iterations shrinks. Starts given as a fraction of the training stay, such as IB.START.

    Args:
        cfg: with lt_det's keys.
        processes: number of processes that train.

    Raises:
        LtDetError: a batch that the reference number of processes cannot split equally.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, processes):
        return cfg
    if reference < 0 or cfg.SOLVER.IMS_PER_BATCH % reference:
        raise LtDetError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {reference}, but a batch of {count_of(cfg.SOLVER.IMS_PER_BATCH, 'image')} "
            "(SOLVER.IMS_PER_BATCH) cannot be split equally among them; write the number of processes that "
            "the schedule was written for."
        )
    scaled = DefaultTrainer.auto_scale_workers(cfg, processes).clone()
    frozen = scaled.is_frozen()
    scaled.defrost()
    # A period rounded to 0 would mean never, or a division by zero.
    scaled.SOLVER.CHECKPOINT_PERIOD = max(1, scaled.SOLVER.CHECKPOINT_PERIOD)
    if cfg.TEST.EVAL_PERIOD > 0:
        scaled.TEST.EVAL_PERIOD = max(1, scaled.TEST.EVAL_PERIOD)
    for node, key in ((scaled.DATALOADER, "SAMPLER_START"), (scaled.MODEL.LONG_TAIL.REWEIGHTING, "START")):
        if _is_iteration(node[key]):
            node[key] = max(1, round(float(node[key]) * reference / processes))  # 0 would be a fraction
    if frozen:
        scaled.freeze()
    return scaled


def scaling_line(cfg: Any, scaled: Any) -> str:
    """What `scaled_to_processes` changed, in one line."""
    changes = [(key, _value(cfg, key), _value(scaled, key)) for key in _SCALED]
    changed = ", ".join(f"{key} {before} -> {after}" for key, before, after in changes if before != after)
    processes = f"{cfg.SOLVER.REFERENCE_WORLD_SIZE} -> {scaled.SOLVER.REFERENCE_WORLD_SIZE} processes"
    return f"Scaled by SOLVER.REFERENCE_WORLD_SIZE, {processes}: {changed}."


def _value(cfg: Any, key: str) -> Any:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _is_iteration(start: Any) -> bool:
    try:
        return start is not None and float(start) >= 1
    except (TypeError, ValueError):  # first_lr_step, or an invalid start
        return False
