"""What is checked before a training or an evaluation begins; `lt-det doctor` runs the same checks."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.utils import comm
from detectron2.utils.registry import locate

from lt_det.config import check_training_keys
from lt_det.data import training_stats
from lt_det.data.shared_images import shared_images
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.io.atomic import check_folder
from lt_det.losses import loss_class
from lt_det.modeling.predictor import refuse_stock_loss
from lt_det.statistics.class_stats import ClassStats
from lt_det.training.accumulation import amp_precision
from lt_det.training.decoupled import check_decoupled_training
from lt_det.training.world_size_scaling import scaled_to_processes

logger = logging.getLogger(__name__)


def check_config(cfg: CfgNode, *, training: bool, resume: bool) -> None:
    """Check a yaml config against machine and data, before another training's files are touched.

    Raises:
        LtDetError: no GPU, datasets that are missing, a batch that cannot be split, an OUTPUT_DIR that cannot be
            written.
    """
    precision = amp_precision(cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION)
    prepare_device(cfg.MODEL.DEVICE, precision, cfg.DATALOADER.NUM_WORKERS)
    if training:
        scaled = scaled_to_processes(cfg, comm.get_world_size())
        check_scaled_batch(cfg, scaled)
        check_training_keys(scaled)
        method = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
        check_decoupled_training(method, cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, resume=resume)
    check_datasets([*(cfg.DATASETS.TRAIN if training else []), *cfg.DATASETS.TEST])
    if training and comm.is_main_process():
        for message in shared_images(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST):
            logger.warning("%s.", message)
    check_folder(Path(cfg.OUTPUT_DIR), "OUTPUT_DIR")


def check_lazy_config(cfg: Any, *, training: bool, resume: bool) -> None:
    """As `check_config`, for a LazyConfig.

    Raises:
        LtDetError: as there; several test sets, or an evaluator that is not lt_det's.
    """
    loader = cfg.dataloader
    _check_lazy_evaluation(loader)
    precision = amp_precision(cfg.train.amp.enabled, cfg.train.amp.get("precision", "float16"))
    prepare_device(cfg.train.device, precision, loader.train.num_workers)
    if training:
        check_batch(loader.train.total_batch_size, cfg.train.get("accumulate", 1))
        method = cfg.train.get("second_stage", "")
        check_decoupled_training(method, cfg.train.init_checkpoint, cfg.train.output_dir, resume=resume)
    check_datasets([*(names_of(loader.train.dataset) if training else []), loader.test.dataset.names])
    check_folder(Path(cfg.train.output_dir), "OUTPUT_DIR")


def _check_lazy_evaluation(loader: Any) -> None:
    test = loader.test.dataset.names
    if not isinstance(test, str):
        raise LtDetError(
            f"dataloader.test.dataset.names is {test}, but one dataset is evaluated; write its name alone."
        )
    evaluator = loader.get("evaluator", {}).get("_target_")
    evaluator = locate(evaluator) if isinstance(evaluator, str) else evaluator
    if not (isinstance(evaluator, type) and issubclass(evaluator, LongTailEvaluator)):
        raise LtDetError(
            f"dataloader.evaluator is {getattr(evaluator, '__name__', evaluator)}, and not LongTailEvaluator, which "
            "evaluates by frequency bucket; write dataloader.evaluator = L(LongTailEvaluator)(dataset_name=TEST_SET, "
            "stats=L(training_stats_or_none)(datasets=[TRAINING_SET])), as configs/lazy/common/data.py does."
        )


def names_of(dataset: Any) -> list[str]:
    """The datasets of a LazyConfig's ``dataset`` node, which has one name or a list of names."""
    return [dataset.names] if isinstance(dataset.names, str) else list(dataset.names)


def check_heads(cfg: CfgNode) -> None:
    """
    Raises:
        LtDetError: unknown loss or ROI heads, or losses of Detectron2's heads together with heads of lt_det.
    """
    loss_class(cfg.MODEL.LONG_TAIL.LOSS.NAME)
    heads = cfg.MODEL.ROI_HEADS.NAME
    for key in ("USE_SIGMOID_CE", "USE_FED_LOSS"):
        if heads.startswith("LongTail") and cfg.MODEL.ROI_BOX_HEAD.get(key):
            refuse_stock_loss(key)
    if heads not in ROI_HEADS_REGISTRY:
        raise LtDetError(
            f"MODEL.ROI_HEADS.NAME is '{heads}', which is not registered; lt_det's are LongTailROIHeads, "
            "LongTailCascadeROIHeads and LongTailRes5ROIHeads."
        )


def training_stats_of(cfg: CfgNode) -> ClassStats:
    """Counts of the training classes, checked against MODEL.ROI_HEADS.NUM_CLASSES.

    Raises:
        LtDetError: no counts are found, or they have another number of classes.
    """
    stats = training_stats(cfg.DATASETS.TRAIN, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=cfg.OUTPUT_DIR)
    stats.check_num_classes(cfg.MODEL.ROI_HEADS.NUM_CLASSES)
    return stats


def prepare_device(device: str, precision: torch.dtype | None, num_workers: int) -> None:
    """Check the device. On the CPU also set the number of threads.

    The threads get the cores that data loader workers and the other processes leave: threads that compete for cores are
    many times slower.

    Args:
        device: MODEL.DEVICE.
        precision: of mixed-precision training; None: off.
        num_workers: data loader workers per process.

    Raises:
        LtDetError: a device that is not there, or that does not go with the processes or the precision.
    """
    check_device(device)
    over_gloo = torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo"
    if device.startswith("cuda"):
        if over_gloo:
            raise LtDetError(f"--num-processes trains on the CPU, but the device is {device}; give --num-gpus instead.")
        if precision is torch.bfloat16 and not torch.cuda.is_bf16_supported():
            raise LtDetError("This GPU does not compute in bfloat16; set SOLVER.AMP.PRECISION to float16.")
        return
    if comm.get_world_size() > 1 and not over_gloo:
        raise LtDetError(
            f"{comm.get_world_size()} processes were started for GPUs, but the device is {device}; on the CPU give "
            f"--num-processes {comm.get_local_size()} instead of --num-gpus."
        )
    if precision is not None:
        raise LtDetError("Detectron2's mixed precision (AMP) needs a GPU; switch it off to train on the CPU.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores // comm.get_local_size() - num_workers)))


def check_batch(images: int, passes: int) -> None:
    """Raise unless the images of an optimizer step can be split equally among processes and passes."""
    if passes < 1:
        raise LtDetError(
            f"SOLVER.ACCUMULATE (LazyConfig: train.accumulate) is {passes}; give the passes per step, 1 or more."
        )
    processes = comm.get_world_size()
    if images % (processes * passes):
        in_passes = f" in {passes} passes each (SOLVER.ACCUMULATE, train.accumulate)" if passes > 1 else ""
        raise LtDetError(
            f"A batch of {images} images (SOLVER.IMS_PER_BATCH, LazyConfig: dataloader.train.total_batch_size) cannot "
            f"be split equally among {processes} processes{in_passes}; make it a multiple of {processes * passes}."
        )


def check_scaled_batch(cfg: CfgNode, scaled: CfgNode) -> None:
    """As `check_batch`, for a config and the result of `scaled_to_processes`."""
    written, images, passes = cfg.SOLVER.IMS_PER_BATCH, scaled.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE
    processes, reference = comm.get_world_size(), cfg.SOLVER.REFERENCE_WORLD_SIZE
    if images == written or passes < 1 or images % (processes * passes) == 0:
        check_batch(images, passes)
        return
    raise LtDetError(
        f"SOLVER.IMS_PER_BATCH is {written}, which SOLVER.REFERENCE_WORLD_SIZE {reference} scales to {images} for "
        f"{processes} processes: that cannot be split equally in {passes} passes each (SOLVER.ACCUMULATE); make "
        f"IMS_PER_BATCH a multiple of {reference * passes}."
    )


def check_device(device: str) -> None:
    """Raise if the device is unknown, or a GPU that torch does not see."""
    try:
        torch.device(device)
    except RuntimeError:
        raise LtDetError(f"There is no device '{device}'; write cpu, cuda or cuda:0.") from None
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise LtDetError(
            "The device is cuda, but torch sees no GPU; train on the CPU with MODEL.DEVICE cpu "
            "(LazyConfig: train.device=cpu), or see `lt-det doctor`."
        )


def check_datasets(names: Sequence[str]) -> None:
    """Raise unless each dataset is registered and its files are on disk."""
    for name in names:
        if name not in DatasetCatalog:
            raise LtDetError(
                f"The dataset '{name}' is not registered; list it in DATASETS.REGISTER or correct the name."
            )
        metadata = MetadataCatalog.get(name)
        for what, key in (("annotation file", "json_file"), ("image folder", "image_root")):
            path = metadata.get(key)
            if path and not Path(path).exists():
                hint = "run `lt-det mini-lvis`" if name.startswith("mini_lvis") else "put it there"
                raise LtDetError(
                    f"The {what} {path} of the dataset '{name}' does not exist; {hint}, or set DETECTRON2_DATASETS "
                    "to the folder that holds your datasets."
                )
