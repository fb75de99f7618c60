"""What is checked before a training or an evaluation begins; `lt-det doctor` runs the same checks."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.utils import comm
from detectron2.utils.registry import locate

from lt_det.config import check_max_to_keep, check_training_keys, num_classes_of
from lt_det.data import training_stats
from lt_det.data.loader import check_meta_classes
from lt_det.data.missing_files import advice_for_missing_files
from lt_det.data.shared_images import repeated_sets, shared_images
from lt_det.errors import LtDetError, did_you_mean
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.io.atomic import check_folder
from lt_det.losses import loss_class
from lt_det.modeling.compilation import check_compiler
from lt_det.modeling.predictor import refuse_stock_loss
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of
from lt_det.training.accumulation import amp_precision
from lt_det.training.decoupled import check_decoupled_training
from lt_det.training.detectron2_keys.checks import check_detectron2_keys, warn_of_unused_lazy_keys
from lt_det.training.diagnostics import explained
from lt_det.training.hooks.options import HookOptions
from lt_det.training.resume.checkpoint_folder import holds_checkpoint
from lt_det.training.weights.address import check_remote_weights
from lt_det.training.world_size_scaling import scaled_to_processes

logger = logging.getLogger(__name__)


@explained("The config cannot be checked")
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
        HookOptions.from_config(scaled)
        if cfg.MODEL.COMPILE:
            check_compiler(torch.device(cfg.MODEL.DEVICE).type)
        method = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
        check_decoupled_training(method, cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, resume=resume)
    if not (training or cfg.DATASETS.TEST):
        raise LtDetError("DATASETS.TEST is empty, so there is nothing to evaluate; name a registered set.")
    check_detectron2_keys(cfg, training=training)
    _check_address(cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, resume)
    check_expected_results(cfg.TEST.EXPECTED_RESULTS, cfg.DATASETS.TEST)
    train = [*cfg.DATASETS.TRAIN, *cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS] if training else []
    check_datasets([*train, *cfg.DATASETS.TEST])
    check_folder(Path(cfg.OUTPUT_DIR), "OUTPUT_DIR")
    _warn_of_shared_images(train, cfg.DATASETS.TEST)


@explained("The config cannot be checked")
def check_lazy_config(cfg: Any, *, training: bool, resume: bool) -> None:
    """As `check_config`, for a LazyConfig.

    Raises:
        LtDetError: as there; several test sets, or an evaluator that is not lt_det's.
    """
    loader = cfg.dataloader
    _check_lazy_evaluation(loader)
    warn_of_unused_lazy_keys(cfg.train)
    precision = amp_precision(cfg.train.amp.enabled, cfg.train.amp.get("precision", "float16"))
    prepare_device(cfg.train.device, precision, loader.train.num_workers)
    if training:
        check_batch(loader.train.total_batch_size, cfg.train.get("accumulate", 1))
        check_max_to_keep(cfg.train.checkpointer.get("max_to_keep"), "train.checkpointer.max_to_keep")
        HookOptions.from_lazy(cfg.train)
        if cfg.train.get("compile", False):
            check_compiler(torch.device(cfg.train.device).type)
        method = cfg.train.get("second_stage", "")
        check_decoupled_training(method, cfg.train.init_checkpoint, cfg.train.output_dir, resume=resume)
    _check_address(cfg.train.init_checkpoint, cfg.train.output_dir, resume)
    train = [*names_of(loader.train.dataset), *meta_names(cfg)] if training else []
    check_datasets([*train, loader.test.dataset.names])
    if training:
        check_meta_classes(names_of(loader.train.dataset), meta_names(cfg), cfg.train.output_dir)
    check_folder(Path(cfg.train.output_dir), "OUTPUT_DIR")
    _warn_of_shared_images(train, [loader.test.dataset.names])


def _warn_of_shared_images(train: Sequence[str], test: Sequence[str]) -> None:
    if train and comm.is_main_process():
        for message in (*repeated_sets(train), *shared_images(train, test)):
            logger.warning("%s.", message)


def check_expected_results(expected: Any, test_sets: Sequence[str]) -> None:
    """Raise unless Detectron2 can compare the results with TEST.EXPECTED_RESULTS, which it does after the training.

    Args:
        expected: empty, or rows of task, metric, expected value and tolerance, such as ["bbox", "AP", 36.1, 0.5].
        test_sets: DATASETS.TEST.
    """
    if not isinstance(expected, list | tuple):
        raise LtDetError(f"TEST.EXPECTED_RESULTS is {expected!r}; {_EXPECTED}.")
    for row in expected:
        if not (isinstance(row, list | tuple) and len(row) == 4 and all(isinstance(name, str) for name in row[:2])):
            raise LtDetError(f"TEST.EXPECTED_RESULTS has the row {row!r}; {_EXPECTED}.")
        value, tolerance = row[2:]
        if not (all(isinstance(v, int | float) and math.isfinite(v) for v in row[2:]) and tolerance >= 0):
            raise LtDetError(f"TEST.EXPECTED_RESULTS has {row[0]} {row[1]} {value!r} {tolerance!r}; {_EXPECTED}.")
    if expected and len(test_sets) != 1:
        raise LtDetError(
            f"TEST.EXPECTED_RESULTS is compared with the results of one test set, but DATASETS.TEST has "
            f"{len(test_sets)}; leave it empty, or name one test set."
        )


_EXPECTED = "write rows of task, metric, expected value and tolerance, such as [['bbox', 'AP', 36.1, 0.5]]"


def _check_address(weights: Any, output_dir: str, resume: bool) -> None:
    """Reach the address of the weights, before data are read for minutes; a resumed training needs none."""
    resumes = resume and ("://" in output_dir or holds_checkpoint(Path(output_dir)))
    if isinstance(weights, str) and "://" in weights and not resumes and comm.is_main_process():
        check_remote_weights(weights)


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


def meta_names(cfg: Any) -> list[str]:
    """The datasets of a LazyConfig's ``dataloader.meta``; none without one, or if it does not say."""
    dataset = (cfg.dataloader.get("meta") or {}).get("dataset")
    return names_of(dataset) if dataset is not None and "names" in dataset else []


def check_heads(cfg: CfgNode) -> None:
    """
    Raises:
        LtDetError: unknown loss or ROI heads, or losses of Detectron2's heads together with heads of lt_det.
    """
    try:
        loss_class(cfg.MODEL.LONG_TAIL.LOSS.NAME)
    except LtDetError as error:
        raise LtDetError(f"MODEL.LONG_TAIL.LOSS.NAME: {error}") from error
    heads = cfg.MODEL.ROI_HEADS.NAME
    for key in ("USE_SIGMOID_CE", "USE_FED_LOSS"):
        if heads.startswith("LongTail") and cfg.MODEL.ROI_BOX_HEAD.get(key):
            refuse_stock_loss(key)
    if heads not in ROI_HEADS_REGISTRY:
        hint = did_you_mean(heads, (name for name, _ in ROI_HEADS_REGISTRY))
        raise LtDetError(
            f"MODEL.ROI_HEADS.NAME is '{heads}', which is not registered{hint} lt_det's are LongTailROIHeads, "
            "LongTailCascadeROIHeads and LongTailRes5ROIHeads."
        )


def training_stats_of(cfg: CfgNode) -> ClassStats:
    """Counts of the training classes, checked against the number of classes of the network.

    Raises:
        LtDetError: no counts are found, or they have another number of classes.
    """
    stats = training_stats(cfg.DATASETS.TRAIN, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=cfg.OUTPUT_DIR)
    key, number = num_classes_of(cfg)
    stats.check_num_classes(number, key)
    return stats


def prepare_device(device: str, precision: torch.dtype | None, num_workers: int) -> None:
    """Check the device. Make a GPU with a number the current one; on the CPU set the number of threads.

    The threads get the cores that data loader workers and the other processes leave: threads that compete for cores are
    many times slower.

    Args:
        device: MODEL.DEVICE.
        precision: of mixed-precision training; None: off.
        num_workers: data loader workers per process.

    Raises:
        LtDetError: a device that is not there, or that does not go with the processes or the precision.
    """
    kind = check_device(device)
    index = torch.device(device).index
    over_gloo = torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo"
    if kind == "cuda":
        if over_gloo:
            raise LtDetError(f"--num-processes trains on the CPU, but the device is {device}; give --num-gpus instead.")
        if precision is torch.bfloat16 and not torch.cuda.is_bf16_supported():
            raise LtDetError("This GPU does not compute in bfloat16; set SOLVER.AMP.PRECISION to float16.")
        if index is not None and comm.get_world_size() > 1:
            raise LtDetError(
                f"The device is {device}, but {comm.get_world_size()} processes were started, each for a GPU of its "
                "own; write cuda (MODEL.DEVICE, LazyConfig: train.device), and choose GPUs with CUDA_VISIBLE_DEVICES."
            )
        if index is not None:
            torch.cuda.set_device(index)  # memory statistics and kernels without a tensor use the current device
        return
    if kind != "cpu" and comm.get_world_size() > 1:
        raise LtDetError(
            f"{comm.get_world_size()} processes cannot train on the device {device}; train in one process, or in "
            "several on CUDA GPUs (--num-gpus) or on the CPU (--num-processes)."
        )
    if comm.get_world_size() > 1 and not over_gloo:
        raise LtDetError(
            f"{comm.get_world_size()} processes were started for GPUs, but the device is {device}; on the CPU give "
            f"--num-processes {comm.get_local_size()} instead of --num-gpus."
        )
    if precision is not None:
        raise LtDetError(
            f"Detectron2's mixed precision (AMP) needs a GPU with CUDA, but the device is {device}; set "
            "SOLVER.AMP.ENABLED (LazyConfig: train.amp.enabled) to False."
        )
    if kind != "cpu":
        return
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
            f"A batch of {count_of(images, 'image')} (SOLVER.IMS_PER_BATCH, LazyConfig: "
            "dataloader.train.total_batch_size) cannot be split equally among "
            f"{count_of(processes, 'process')}{in_passes}; make it a multiple of {processes * passes}."
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
        f"{count_of(processes, 'process')}: that cannot be split equally in {count_of(passes, 'pass')} each "
        f"(SOLVER.ACCUMULATE); make IMS_PER_BATCH a multiple of {reference * passes}."
    )


def check_device(device: str) -> str:
    """Check that torch can compute on a device, and return its kind: cpu, cuda, mps, xpu, ...

    Raises:
        LtDetError: the device is unknown, or torch cannot compute on it here.
    """
    keys = "MODEL.DEVICE (LazyConfig: train.device)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of names that it once used
            parsed = torch.device(device)
    except (RuntimeError, TypeError):
        raise LtDetError(f"There is no device '{device}'; set {keys} to cpu, cuda or cuda:0.") from None
    if parsed.type == "cuda":
        if not torch.cuda.is_available():
            raise LtDetError(
                f"The device is {device}, but torch sees no GPU; train on the CPU with MODEL.DEVICE cpu "
                "(LazyConfig: train.device=cpu), or see `lt-det doctor`."
            )
        if parsed.index is not None and parsed.index >= torch.cuda.device_count():
            raise LtDetError(
                f"The device is {device}, but torch sees {count_of(torch.cuda.device_count(), 'GPU')}, counted from 0; "
                f"correct {keys}."
            )
    elif parsed.type != "cpu":
        try:
            torch.ones(2, device=parsed).sum().item()
        except Exception as error:  # each backend fails in its own way where it is missing
            raise LtDetError(
                f"The device is {device}, but torch {torch.__version__} cannot compute on it here "
                f"({type(error).__name__}); set {keys} to cpu or cuda, or install a torch with support for it."
            ) from None
    return str(parsed.type)


def check_datasets(names: Sequence[str]) -> None:
    """Raise unless each dataset is registered and its files are on disk."""
    for name in names:
        if name not in DatasetCatalog:
            raise LtDetError(
                f"The dataset '{name}' is not registered; list it in DATASETS.REGISTER, correct the name, or "
                "import the module that registers it (lt-det --import MODULE)."
            )
        metadata = MetadataCatalog.get(name)
        for what, key in (("annotation file", "json_file"), ("image folder", "image_root")):
            path = metadata.get(key)
            if path and not Path(path).exists():
                raise LtDetError(
                    f"The {what} {path} of the dataset '{name}' does not exist; {advice_for_missing_files(name)}."
                )
