"""From the command line to a checked config."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, LazyConfig, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_setup
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from detectron2.utils.registry import locate

from lt_det.config import add_lt_config, check_training_keys
from lt_det.data import register_from_config, training_stats
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.io.atomic import check_folder
from lt_det.losses import loss_class
from lt_det.modeling.predictor import refuse_stock_loss
from lt_det.statistics.class_stats import ClassStats
from lt_det.training.accumulation import amp_precision
from lt_det.training.decoupled import check_second_stage
from lt_det.training.lazy_overrides import apply_overrides
from lt_det.training.world_size_scaling import scaled_to_processes

_STARTS = ("MODEL.LONG_TAIL.REWEIGHTING.START", "DATALOADER.SAMPLER_START")  # words or numbers


def load_config(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Read a yaml config with lt_det's keys and KEY VALUE overrides, and register the data sets it lists.

    Raises:
        LtDetError: missing file, broken yaml, unknown key, value of another type, unknown loss.
    """
    if not config_file:
        raise LtDetError("No config is given; add --config FILE, for example --config configs/mini_lvis_softmax.yaml.")
    if config_file.endswith(".py"):
        raise LtDetError(f"{config_file} is a LazyConfig; train it with tools/lazyconfig_train_net.py.")
    if not Path(config_file).is_file():
        raise LtDetError(f"The config {config_file} does not exist; the ones that are shipped are in configs/.")
    cfg = get_cfg()
    add_lt_config(cfg)
    try:
        cfg.merge_from_file(config_file)
    except FileNotFoundError as error:
        raise LtDetError(f"{config_file}: its _BASE_ {error.filename} does not exist; correct the path.") from error
    except RecursionError as error:
        raise LtDetError(f"{config_file}: its _BASE_ leads back to itself; correct it.") from error
    except yaml.YAMLError as error:
        raise LtDetError(f"{config_file} is not valid yaml: {' '.join(str(error).split())}.") from error
    except (KeyError, ValueError, TypeError, AssertionError, AttributeError) as error:
        raise LtDetError(f"{config_file}: {_plain(error)}; correct the key or its value.") from error
    if len(opts) % 2:
        raise LtDetError(f"Overrides come as KEY VALUE pairs, but {len(opts)} words are given: {' '.join(opts)}.")
    try:
        for key in sorted({*_STARTS} & {*opts[::2]}):
            cfg.merge_from_list([key, None])  # else an override must have the type that the file's value has
        cfg.merge_from_list(list(opts))
    except (KeyError, ValueError, AssertionError, AttributeError) as error:
        raise LtDetError(f"Override on the command line: {_plain(error)}; correct the key or its value.") from error
    loss_class(cfg.MODEL.LONG_TAIL.LOSS.NAME)
    for key in ("USE_SIGMOID_CE", "USE_FED_LOSS"):
        if cfg.MODEL.ROI_HEADS.NAME.startswith("LongTail") and cfg.MODEL.ROI_BOX_HEAD.get(key):
            refuse_stock_loss(key)
    if cfg.MODEL.ROI_HEADS.NAME not in ROI_HEADS_REGISTRY:
        ours = "LongTailROIHeads, LongTailCascadeROIHeads, LongTailRes5ROIHeads"
        raise LtDetError(
            f"MODEL.ROI_HEADS.NAME is '{cfg.MODEL.ROI_HEADS.NAME}', which is not registered; ours: {ours}."
        )
    register_from_config(cfg)
    return cfg


def load_lazy_config(config_file: str, opts: Sequence[str] = ()) -> Any:
    """Read a LazyConfig file with ``key=value`` overrides.

    Raises:
        LtDetError: missing file, a yaml file, or an override that does not parse or names no key.
    """
    if not config_file or not Path(config_file).is_file():
        raise LtDetError(f"The config '{config_file}' does not exist; the ones that are shipped are in configs/lazy/.")
    if not config_file.endswith(".py"):
        raise LtDetError(f"{config_file} is not a LazyConfig (.py); train yaml configs with tools/train_net.py.")
    try:
        cfg = LazyConfig.load(config_file)
    except Exception as error:  # a LazyConfig is a program, and can fail in any way
        raise LtDetError(
            f"{config_file} cannot be loaded ({type(error).__name__}: {_plain(error)}); correct it."
        ) from error
    missing = [node for node in ("model", "optimizer", "lr_multiplier", "dataloader", "train") if node not in cfg]
    if missing:
        raise LtDetError(f"{config_file} has no '{missing[0]}'; see configs/lazy/mini_lvis_eql.py for what is needed.")
    return apply_overrides(cfg, opts)


def setup(args: argparse.Namespace) -> CfgNode:
    """Load the config of a training command, check it against machine and data, and prepare OUTPUT_DIR and logs.

    Raises:
        LtDetError: as `load_config`; no GPU, data sets that are not there, an OUTPUT_DIR that cannot be written.
    """
    cfg = load_config(args.config_file, args.opts)
    precision = amp_precision(cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION)
    prepare_device(cfg.MODEL.DEVICE, precision, cfg.DATALOADER.NUM_WORKERS)
    if not args.eval_only:
        check_scaled_batch(cfg, scaled_to_processes(cfg, comm.get_world_size()))
        # Now, before another training's config.yaml and log are written to.
        check_training_keys(scaled_to_processes(cfg, comm.get_world_size()))
        method = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
        check_second_stage(method, cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, resume=args.resume)
    check_datasets([*([] if args.eval_only else cfg.DATASETS.TRAIN), *cfg.DATASETS.TEST])
    check_folder(Path(cfg.OUTPUT_DIR), "OUTPUT_DIR")
    cfg.freeze()
    _set_up_logs(cfg, args, cfg.OUTPUT_DIR)
    return cfg


def setup_lazy(args: argparse.Namespace) -> Any:
    """As `setup`, for a LazyConfig file with ``key=value`` overrides.

    Raises:
        LtDetError: as there; several test sets, or another evaluator than ours.
    """
    cfg = load_lazy_config(args.config_file, args.opts)
    loader = cfg.dataloader
    _check_judging(loader)
    precision = amp_precision(cfg.train.amp.enabled, cfg.train.amp.get("precision", "float16"))
    prepare_device(cfg.train.device, precision, loader.train.num_workers)
    if not args.eval_only:
        check_batch(loader.train.total_batch_size, cfg.train.get("accumulate", 1))
        method = cfg.train.get("second_stage", "")
        check_second_stage(method, cfg.train.init_checkpoint, cfg.train.output_dir, resume=args.resume)
    check_datasets([*([] if args.eval_only else _as_list(loader.train.dataset.names)), loader.test.dataset.names])
    check_folder(Path(cfg.train.output_dir), "OUTPUT_DIR")
    _set_up_logs(cfg, args, cfg.train.output_dir)
    return cfg


def _check_judging(loader: Any) -> None:
    test = loader.test.dataset.names
    if not isinstance(test, str):
        raise LtDetError(f"dataloader.test.dataset.names is {test}, but one set is judged; write its name alone.")
    evaluator = loader.get("evaluator", {}).get("_target_")
    evaluator = locate(evaluator) if isinstance(evaluator, str) else evaluator
    if not (isinstance(evaluator, type) and issubclass(evaluator, LongTailEvaluator)):
        raise LtDetError(
            f"dataloader.evaluator is {getattr(evaluator, '__name__', evaluator)}, and not LongTailEvaluator, which "
            "judges by frequency bucket; write dataloader.evaluator = L(LongTailEvaluator)(dataset_name=TEST_SET, "
            "stats=L(training_stats_or_none)(datasets=[TRAINING_SET])), as configs/lazy/common/data.py does."
        )


def _as_list(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _set_up_logs(cfg: Any, args: argparse.Namespace, output_dir: str) -> None:
    default_setup(cfg, args)
    setup_logger(output_dir, distributed_rank=comm.get_rank(), name="lt_det")


def training_stats_of(cfg: CfgNode) -> ClassStats:
    """Counts of the training classes, checked against MODEL.ROI_HEADS.NUM_CLASSES.

    Raises:
        LtDetError: no counts are found, or another number of classes.
    """
    stats = training_stats(cfg.DATASETS.TRAIN, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=cfg.OUTPUT_DIR)
    stats.check_num_classes(cfg.MODEL.ROI_HEADS.NUM_CLASSES)
    return stats


def prepare_device(device: str, precision: torch.dtype | None, num_workers: int) -> None:
    """Check the device. On the CPU, compute with the cores that data loading and the other processes leave: threads
    that fight for cores are many times slower."""
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
            f"{comm.get_world_size()} processes meet as on GPUs, but the device is {device}; on the CPU give "
            f"--num-processes {comm.get_local_size()} instead of --num-gpus."
        )
    if precision is not None:
        raise LtDetError("Detectron2's mixed precision (AMP) needs a GPU; switch it off to train on the CPU.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores // comm.get_local_size() - num_workers)))


def check_batch(images: int, passes: int) -> None:
    """Raise unless the processes can share the images of an optimiser step equally, each in so many passes."""
    if passes < 1:
        raise LtDetError(
            f"SOLVER.ACCUMULATE (LazyConfig: train.accumulate) is {passes}; give the passes of a step, 1 or more."
        )
    processes = comm.get_world_size()
    if images % (processes * passes):
        in_passes = f" in {passes} passes each (SOLVER.ACCUMULATE, train.accumulate)" if passes > 1 else ""
        raise LtDetError(
            f"A batch of {images} images (SOLVER.IMS_PER_BATCH, LazyConfig: dataloader.train.total_batch_size) cannot "
            f"be shared equally by {processes} processes{in_passes}; make it a multiple of {processes * passes}."
        )


def check_scaled_batch(cfg: CfgNode, scaled: CfgNode) -> None:
    """As `check_batch`, for a config and what `scaled_to_processes` has made of it."""
    written, images, passes = cfg.SOLVER.IMS_PER_BATCH, scaled.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE
    processes, reference = comm.get_world_size(), cfg.SOLVER.REFERENCE_WORLD_SIZE
    if images == written or passes < 1 or images % (processes * passes) == 0:
        check_batch(images, passes)
        return
    raise LtDetError(
        f"SOLVER.IMS_PER_BATCH is {written}, which SOLVER.REFERENCE_WORLD_SIZE {reference} makes {images} for "
        f"{processes} processes: they cannot share these equally in {passes} passes each (SOLVER.ACCUMULATE); make "
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
    """Raise unless each data set is registered and its files are on disk."""
    for name in names:
        if name not in DatasetCatalog:
            raise LtDetError(
                f"The data set '{name}' is not registered; list it in DATASETS.REGISTER or correct the name."
            )
        metadata = MetadataCatalog.get(name)
        for what, key in (("annotation file", "json_file"), ("image folder", "image_root")):
            path = metadata.get(key)
            if path and not Path(path).exists():
                hint = "run `lt-det mini-lvis`" if name.startswith("mini_lvis") else "put it there"
                raise LtDetError(
                    f"The {what} {path} of the data set '{name}' does not exist; {hint}, or set DETECTRON2_DATASETS "
                    "to the folder that holds your data sets."
                )


def _plain(error: Exception) -> str:
    """An exception's text without the quotes that KeyError adds."""
    return str(error.args[0] if error.args else error).strip().rstrip(".")
