"""Settings that someone gave for this start, and that nothing will apply: named in the log, because nothing fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import get_cfg
from detectron2.utils import comm

from lt_det.modeling.roi_heads import STOCK_HEADS
from lt_det.training.config_files.key_paths import value_at
from lt_det.training.config_files.run_config import config_in
from lt_det.training.config_files.values import LOSSES, is_used
from lt_det.training.resume.checkpoint_folder import holds_checkpoint

logger = logging.getLogger(__name__)

_NETWORKS = ("GeneralizedRCNN", "RetinaNet", "PanopticFPN", "ProposalNetwork", "SemanticSegmentor")  # of Detectron2

# Sections whose other keys nothing reads while ENABLED is False. TEST.AUG is for evaluations after a training, too.
_SWITCHED = ("SOLVER.CLIP_GRADIENTS", "SOLVER.AMP", "SOLVER.EMA", "INPUT.CROP", "TEST.PRECISE_BN")

# Detectron2's schedules, and the keys that only they read.
_SCHEDULES = {"WarmupMultiStepLR": ("SOLVER.STEPS", "SOLVER.GAMMA"), "WarmupCosineLR": ("SOLVER.BASE_LR_END",)}


def warn_of_unused_keys(cfg: Any, keys: Sequence[str]) -> None:
    """Log those of `keys`, from the command line, that belong to another loss or to a part that the network lacks.

    Configs may have them: they set in a base what some of the configs made from it use.
    """
    heads = {*STOCK_HEADS, *STOCK_HEADS.values()}
    if cfg.MODEL.META_ARCHITECTURE not in _NETWORKS or cfg.MODEL.ROI_HEADS.NAME not in heads:
        return  # a user's own network or heads may read any key
    for key in keys if comm.is_main_process() else ():
        parts = key.split(".")
        sections = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        if "MODEL.FPN" in sections or all(is_used(section, cfg) for section in sections):
            continue  # a user's own backbone may read MODEL.FPN, whatever its name
        reason = "the network has no such part"
        if key.startswith(LOSSES):
            reason = f"{LOSSES}NAME is {cfg.MODEL.LONG_TAIL.LOSS.NAME}"
        logger.warning("Override on the command line: %s has no effect, because %s; leave it out.", key, reason)


def warn_of_default_sampler(cfg: Any, content: Mapping[str, Any], opts: Sequence[str]) -> None:
    """Log that no image is repeated, unless someone chose the sampler: a base may have a threshold for other configs.

    Args:
        cfg: with the overrides.
        content: keys of the config file and of its bases.
        opts: overrides.
    """
    threshold, key = cfg.DATALOADER.REPEAT_THRESHOLD, "DATALOADER.SAMPLER_TRAIN"
    is_chosen = "SAMPLER_TRAIN" in content.get("DATALOADER", {}) or key in opts[::2]
    if threshold > 0 and not is_chosen and comm.is_main_process():
        logger.warning(
            "DATALOADER.REPEAT_THRESHOLD is %g, but the default %s, %s, repeats no image; set it to "
            "RepeatFactorTrainingSampler, or REPEAT_THRESHOLD to 0.0.",
            threshold,
            key,
            cfg.DATALOADER.SAMPLER_TRAIN,
        )


def settings_without_effect(cfg: Any, file: Path, places: Mapping[str, Path], opts: Sequence[str]) -> Iterator[str]:
    """Settings of the file or the overrides that the rest of the config switches off, as clauses without a full stop.

    Not those of a base, which may be for other configs, and none that someone switched off on purpose.

    Args:
        cfg: of a training, with the overrides.
        file: the config.
        places: the file of each key, see `read_config`.
        opts: overrides.
    """
    overridden, defaults = set(opts[::2]), get_cfg()
    for section in _SWITCHED:
        keys = [f"{section}.{key}" for key in value_at(cfg, section) if key != "ENABLED"]
        given = [key for key in keys if key in overridden or places.get(key) == file]
        switch = f"{section}.ENABLED"
        if given and not value_at(cfg, switch) and switch not in places and switch not in overridden:
            verb = "has" if len(given) == 1 else "have"
            yield f"{', '.join(given)} {verb} no effect, because {switch} is False; set it to True"
    for key, cause, advice in _unread(cfg):
        value = value_at(cfg, key)
        is_given = key in overridden or (places.get(key) == file and cause not in overridden)
        if is_given and value and value != value_at(defaults, key):
            yield f"{key} {value} has no effect, because {cause} is {value_at(cfg, cause) or 'empty'}; {advice}"


def _unread(cfg: Any) -> Iterator[tuple[str, str, str]]:
    """Keys that nothing reads, the key that is the reason, and what to do."""
    scheduler = "SOLVER.LR_SCHEDULER_NAME"
    for name, keys in _SCHEDULES.items() if cfg.SOLVER.LR_SCHEDULER_NAME in _SCHEDULES else ():
        if name != cfg.SOLVER.LR_SCHEDULER_NAME:
            for key in keys:
                yield key, scheduler, f"leave it out, or set {scheduler} to {name}"
    if not cfg.DATASETS.TEST:
        yield "TEST.EVAL_PERIOD", "DATASETS.TEST", "name a test set, or leave it out"
    clip = "SOLVER.CLIP_GRADIENTS"
    if cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "value":
        yield f"{clip}.NORM_TYPE", f"{clip}.CLIP_TYPE", f"leave it out, or set {clip}.CLIP_TYPE to norm"


def warn_of_unused_weights(key: str, weights: str, output_dir: str, *, training: bool) -> None:
    """Log that weights from the command line are not loaded, because there is a checkpoint to resume.

    A job that may be restarted is always called with --resume and the weights that it starts from, which is no mistake.

    Args:
        key: of the weights in the config.
        weights: its value.
        output_dir: of the training.
        training: False for --eval-only.
    """
    folder = Path(output_dir)
    if not comm.is_main_process() or "://" in output_dir or not holds_checkpoint(folder):
        return
    if not (training and value_at(config_in(folder), key) == weights):
        logger.warning(
            "%s %s is not loaded, because --resume takes the last checkpoint in OUTPUT_DIR %s; leave out --resume to "
            "load these weights%s.",
            key,
            weights,
            output_dir,
            ", and give another OUTPUT_DIR" if training else "",
        )


def doubtful_rates(cfg: Any) -> Iterator[str]:
    """What keeps the learning rate from BASE_LR, as clauses without a full stop; it may be meant.

    Args:
        cfg: of a training.
    """
    solver = cfg.SOLVER
    if solver.BASE_LR == 0:
        yield "SOLVER.BASE_LR is 0, so that the weights stay as they are; set it, unless this is intended"
    elif solver.WARMUP_ITERS >= solver.MAX_ITER and solver.WARMUP_FACTOR < 1:
        yield (
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS} and SOLVER.MAX_ITER {solver.MAX_ITER}, so that the training "
            f"ends before the learning rate reaches SOLVER.BASE_LR ({solver.BASE_LR:g}); lower WARMUP_ITERS"
        )


def doubtful_pixels(cfg: Any) -> Iterator[str]:
    """Statistics of pixels from 0 to 1, as other libraries write them, as clauses without a full stop.

    Only a user's own mapper makes such pixels; Detectron2's are from 0 to 255.
    """
    mean, std = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    if std and max(std) < 1:
        yield (
            f"MODEL.PIXEL_STD is {std}, but pixels are from 0 to 255, so that the network sees values up to "
            f"{255 / min(std):.0f}; multiply PIXEL_MEAN {mean} and PIXEL_STD by 255, unless your own mapper makes "
            "pixels from 0 to 1"
        )


def warn_of_cpu(args: Any, device: str) -> None:
    """Log that a training for which someone gave GPUs is on the CPU.

    Args:
        args: options; those of Detectron2's own parser have a number of GPUs that nobody gave.
        device: MODEL.DEVICE.
    """
    if hasattr(args, "num_processes") and args.num_gpus and device == "cpu" and comm.is_main_process():
        logger.warning(
            "--num-gpus is %d, but the device is cpu, so that no GPU is used; set MODEL.DEVICE (LazyConfig: "
            "train.device) to cuda, or leave out --num-gpus.",
            args.num_gpus,
        )
