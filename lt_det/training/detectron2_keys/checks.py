"""Refuse Detectron2's keys that its own tool applies to the configured network, where nothing here would.

Most keys need no check, because Detectron2's own code reads them here as well: tests/helpers/detectron2_keys.py
lists all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from lt_det.data.registration import uses_stock_heads
from lt_det.errors import LtDetError
from lt_det.terminal import count_of
from lt_det.training.detectron2_keys.test_time_augmentation import check_augmentation
from lt_det.unused_loss import WITHOUT_ROI_HEADS, advice_for_heads

logger = logging.getLogger(__name__)

# Detectron2's samplers that read a key which its default config lacks.
_SAMPLER_KEYS = {
    "RandomSubsetTrainingSampler": ("DATALOADER", "RANDOM_SUBSET_RATIO"),
    "WeightedTrainingSampler": ("DATASETS", "TRAIN_REPEAT_FACTOR"),
    "WeightedCategoryTrainingSampler": ("DATASETS", "TRAIN_REPEAT_FACTOR"),
}

# The keys of ``train`` in a LazyConfig: of Detectron2's tool, and of lt_det.
_LAZY_KEYS = {
    *("output_dir", "init_checkpoint", "max_iter", "amp", "ddp", "checkpointer", "eval_period", "log_period", "device"),
    *("seed", "cudnn_benchmark"),
    *("accumulate", "second_stage", "meta_method", "wandb_project", "clip_norm"),
    *("best_checkpoint", "early_stopping", "ema", "val_loss", "compile"),
}
_LAZY_NODES = {
    "amp": ("enabled", "precision"),
    "best_checkpoint": ("metric", "mode"),
    "early_stopping": ("patience", "min_delta"),
    "ema": ("enabled", "decay"),
}


def check_detectron2_keys(cfg: Any, *, training: bool) -> None:
    """Check the keys of a yaml config that Detectron2's tool would apply, and lt_det's that need its ROI heads.

    Raises:
        LtDetError: a key has no effect here, or Detectron2 fails on it.
    """
    check_augmentation(cfg)
    for message in _problems(cfg, training):
        raise LtDetError(message)
    if cfg.MODEL.META_ARCHITECTURE == "PanopticFPN" and cfg.DATASETS.TEST:
        logger.warning("Boxes and masks are evaluated, semantic and panoptic segmentation (PanopticFPN) are not.")
    if comm.is_main_process():
        for message in _without_effect(cfg):
            logger.warning("%s.", message)


def predicts_no_classes(cfg: Any) -> bool:
    """Whether the network is one of Detectron2's that predict something else than boxes of classes."""
    return cfg.MODEL.META_ARCHITECTURE in WITHOUT_ROI_HEADS and cfg.MODEL.META_ARCHITECTURE != "RetinaNet"


def check_keys_of_heads(cfg: Any) -> None:
    """Call where the network has no box head of lt_det.

    Raises:
        LtDetError: a key of MODEL.LONG_TAIL that only such a head would apply.
    """
    node = cfg.MODEL.LONG_TAIL
    ignored = {
        "CLASSIFIER": node.CLASSIFIER if node.CLASSIFIER not in ("auto", "linear") else None,
        "COSINE_SCALE": node.COSINE_SCALE,
        "REWEIGHTING.START": node.REWEIGHTING.START,
    }
    for key, value in ignored.items():
        if value is not None:
            raise LtDetError(
                f"MODEL.LONG_TAIL.{key} is {value}, but the network (MODEL.META_ARCHITECTURE "
                f"{cfg.MODEL.META_ARCHITECTURE}, ROI_HEADS.NAME {cfg.MODEL.ROI_HEADS.NAME}) has no box head of lt_det "
                f"and would ignore it; {advice_for_heads(cfg)}, or leave the key out."
            )


def warn_of_unused_lazy_keys(train: Mapping[str, Any]) -> None:
    """Log the keys of a LazyConfig's ``train`` node that nothing reads."""
    known = _LAZY_KEYS | ({"float32_precision"} if _sets_float32_precision() else set())
    unused = sorted(f"train.{key}" for key in train if key not in known)
    for node, keys in _LAZY_NODES.items():
        found = train.get(node)
        if isinstance(found, Mapping):
            unused += sorted(f"train.{node}.{key}" for key in found if key not in keys)
    if unused:
        logger.warning("Nothing reads %s of this LazyConfig; check the spelling, or leave it out.", ", ".join(unused))


def _without_effect(cfg: Any) -> Iterator[str]:
    """Keys that Detectron2's own tool ignores as well."""
    if cfg.MODEL.LOAD_PROPOSALS and cfg.MODEL.PROPOSAL_GENERATOR.NAME != "PrecomputedProposals":
        generator = cfg.MODEL.PROPOSAL_GENERATOR.NAME
        yield (
            f"MODEL.LOAD_PROPOSALS is True, but MODEL.PROPOSAL_GENERATOR.NAME is {generator}, which makes its own "
            "proposals"
        )
    files = [key for key in ("PROPOSAL_FILES_TRAIN", "PROPOSAL_FILES_TEST") if cfg.DATASETS[key]]
    if files and not cfg.MODEL.LOAD_PROPOSALS:
        yield f"DATASETS.{files[0]} names files, but MODEL.LOAD_PROPOSALS is False, so that none of them is read"
    network = cfg.MODEL.META_ARCHITECTURE
    for key in ("MASK_ON", "KEYPOINT_ON") if network in WITHOUT_ROI_HEADS else ():
        if cfg.MODEL[key]:
            what = "masks" if key == "MASK_ON" else "keypoints"
            yield f"MODEL.{key} is True, but {network} has no head for {what}, and neither learns nor predicts them"


def _sets_float32_precision() -> bool:
    from detectron2.engine import defaults

    return hasattr(defaults, "_set_float32_precision")  # Detectron2's main branch


def _problems(cfg: Any, training: bool) -> Iterator[str]:
    yield from _of_network(cfg)
    yield from _of_proposals(cfg, training)
    yield from _of_stock_loss(cfg, training)
    if training and cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupStepWithFixedGammaLR":
        yield (
            "SOLVER.LR_SCHEDULER_NAME is WarmupStepWithFixedGammaLR, with which Detectron2 fails after the last "
            "iteration of every training; set it to WarmupMultiStepLR and SOLVER.STEPS to the iterations of the drops."
        )
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if training and name in _SAMPLER_KEYS:
        node, key = _SAMPLER_KEYS[name]
        if key not in cfg[node]:
            yield (
                f"DATALOADER.SAMPLER_TRAIN is {name}, which needs {node}.{key}, but Detectron2's config has no such "
                "key; use another sampler."
            )
    augmented = [row[0] for row in cfg.TEST.EXPECTED_RESULTS if _is_augmented(row)]
    if augmented and not cfg.TEST.AUG.ENABLED:
        yield f"TEST.EXPECTED_RESULTS names {augmented[0]}, but TEST.AUG.ENABLED is False; set it to True."
    precision = cfg.get("FLOAT32_PRECISION", "")  # a key of Detectron2's main branch
    if precision not in ("", "highest", "high", "medium"):
        yield f"FLOAT32_PRECISION is '{precision}'; write highest, high or medium, or leave it empty."


def _of_network(cfg: Any) -> Iterator[str]:
    """What no part of the network would apply or predict."""
    network = cfg.MODEL.META_ARCHITECTURE
    if predicts_no_classes(cfg) and cfg.DATASETS.TEST:
        yield (
            f"MODEL.META_ARCHITECTURE {network} predicts no boxes of classes, which are what lt_det evaluates; set "
            "DATASETS.TEST to ()."
        )
    if (
        network == "PanopticFPN"
        and cfg.DATASETS.TEST
        and cfg.MODEL.PANOPTIC_FPN.COMBINE.ENABLED
        and not cfg.MODEL.MASK_ON
    ):
        yield (
            "MODEL.META_ARCHITECTURE PanopticFPN combines masks with the semantic segmentation, but MODEL.MASK_ON is "
            "False; set it to True, or MODEL.PANOPTIC_FPN.COMBINE.ENABLED to False."
        )
    if network in WITHOUT_ROI_HEADS or uses_stock_heads(cfg):
        check_keys_of_heads(cfg)


def _of_proposals(cfg: Any, training: bool) -> Iterator[str]:
    """Proposals from files, which Detectron2 reads without a check."""
    if not cfg.MODEL.LOAD_PROPOSALS:
        if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
            yield (
                "MODEL.PROPOSAL_GENERATOR.NAME is PrecomputedProposals, but MODEL.LOAD_PROPOSALS is False; set it to "
                "True and DATASETS.PROPOSAL_FILES_TRAIN and PROPOSAL_FILES_TEST to the files."
            )
        return
    for split in ("TRAIN", "TEST") if training else ("TEST",):
        names: Sequence[str] = cfg.DATASETS[split]
        files: Sequence[str] = cfg.DATASETS[f"PROPOSAL_FILES_{split}"]
        if len(names) != len(files):
            yield (
                f"MODEL.LOAD_PROPOSALS is True, but DATASETS.PROPOSAL_FILES_{split} has {count_of(len(files), 'file')} "
                f"for {count_of(len(names), 'dataset')} of DATASETS.{split}; give one file per dataset, in the "
                "same order."
            )
        for file in files:
            if "://" not in file and not Path(file).is_file():
                yield f"The proposals {file} (DATASETS.PROPOSAL_FILES_{split}) do not exist; correct the path."


def _of_stock_loss(cfg: Any, training: bool) -> Iterator[str]:
    """Detectron2's federated loss, which finds its class counts for LVIS only."""
    if not (training and uses_stock_heads(cfg) and cfg.MODEL.ROI_BOX_HEAD.get("USE_FED_LOSS")):
        return
    if not cfg.MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE:
        yield "MODEL.ROI_BOX_HEAD.USE_FED_LOSS needs USE_SIGMOID_CE; set it to True."
    for name in cfg.DATASETS.TRAIN:
        if MetadataCatalog.get(name).get("class_image_count") is None:
            yield (
                f"MODEL.ROI_BOX_HEAD.USE_FED_LOSS is True, but Detectron2 knows no class counts of '{name}'; set it "
                "and USE_SIGMOID_CE to False, MODEL.ROI_HEADS.NAME to a head of lt_det such as LongTailROIHeads, and "
                "MODEL.LONG_TAIL.LOSS.NAME to federated."
            )


def _is_augmented(row: Any) -> bool:
    """Whether a row of TEST.EXPECTED_RESULTS, whose form is checked elsewhere, is of the augmented evaluation."""
    return isinstance(row, list | tuple) and bool(row) and str(row[0]).endswith("_TTA")
