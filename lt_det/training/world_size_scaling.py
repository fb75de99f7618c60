"""A schedule that was written for another number of processes (SOLVER.REFERENCE_WORLD_SIZE)."""

from __future__ import annotations

from typing import Any

from detectron2.engine import DefaultTrainer

from lt_det.errors import LtDetError

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
    """The config for so many processes, as Detectron2 scales it by SOLVER.REFERENCE_WORLD_SIZE (0: as it is).

    Goyal et al. 2017, https://arxiv.org/abs/1706.02677: batch and learning rate grow with the processes, everything in
    iterations shrinks. Starts that are a share of the training stay; IB.START always is one.

    Raises:
        LtDetError: a batch that the reference number of processes cannot share.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, processes):
        return cfg
    if reference < 0 or cfg.SOLVER.IMS_PER_BATCH % reference:
        raise LtDetError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {reference}, but a batch of {cfg.SOLVER.IMS_PER_BATCH} images "
            "(SOLVER.IMS_PER_BATCH) is not one for so many processes; write the number that the schedule was made for."
        )
    scaled = DefaultTrainer.auto_scale_workers(cfg, processes).clone()
    frozen = scaled.is_frozen()
    scaled.defrost()
    # Rounded to 0 a period would mean never, or a division by zero.
    scaled.SOLVER.CHECKPOINT_PERIOD = max(1, scaled.SOLVER.CHECKPOINT_PERIOD)
    if cfg.TEST.EVAL_PERIOD > 0:
        scaled.TEST.EVAL_PERIOD = max(1, scaled.TEST.EVAL_PERIOD)
    for node, key in ((scaled.DATALOADER, "SAMPLER_START"), (scaled.MODEL.LONG_TAIL.REWEIGHTING, "START")):
        if _is_iteration(node[key]):
            node[key] = max(1, round(float(node[key]) * reference / processes))  # 0 would be a share
    if frozen:
        scaled.freeze()
    return scaled


def scaling_line(cfg: Any, scaled: Any) -> str:
    """What `scaled_to_processes` has changed, in one line."""
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
    except (TypeError, ValueError):  # first_lr_step, or what is no start
        return False
