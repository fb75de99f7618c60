"""`lt-det doctor --config`: all that a training checks before its first iteration and before its first evaluation."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.config import (
    bucket_options,
    buckets_of_config,
    resampling_start,
    reweighting_start,
    reweighting_without_start,
)
from lt_det.data.class_counts import training_stats
from lt_det.data.formats import annotations_of
from lt_det.doctor.finding import Finding
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.io.annotation_checks import find_problems
from lt_det.losses.registry import require_statistics
from lt_det.statistics.class_stats import ClassStats
from lt_det.training.accumulation import amp_precision
from lt_det.training.config_loading import load_config
from lt_det.training.decoupled import check_decoupled_training
from lt_det.training.detectron2_keys.checks import check_detectron2_keys, num_classes_of
from lt_det.training.log.wandb_writer import WandbWriter
from lt_det.training.preflight import check_batch, check_datasets, prepare_device
from lt_det.training.trainer import LongTailTrainer
from lt_det.training.world_size_scaling import scaled_to_processes

_OTHER_SCRIPT = "if a script of your own registers it, doctor cannot check it"


def examine_config(config_file: str, opts: Sequence[str] = ()) -> Iterator[Finding]:
    """Check a config as a training in one process does; the training refuses what is fatal here.

    Nothing is written to OUTPUT_DIR. Large annotation files go into the cache, where the training finds them.

    Args:
        config_file: a yaml config.
        opts: KEY VALUE overrides of it.

    Yields:
        one finding per check, as soon as it is known.
    """
    reported: set[str] = set()
    with _quiet():  # the findings say what the log would
        for finding in _findings(config_file, opts):
            if not finding.fatal or finding.advice not in reported:  # one mistake can make several checks fail
                yield finding
            reported.add(finding.advice)


def _findings(config_file: str, opts: Sequence[str]) -> Iterator[Finding]:
    try:
        cfg = scaled_to_processes(load_config(config_file, opts), 1)
    except LtDetError as error:
        yield Finding("config", config_file, str(error), fatal=True)
        return
    yield Finding("config", f"{config_file}: loss {cfg.MODEL.LONG_TAIL.LOSS.NAME}, {cfg.MODEL.ROI_HEADS.NAME}")
    for subject, check in (("OUTPUT_DIR", _output_dir), ("device", _device), ("batch", _batch), ("weights", _weights)):
        yield _checked(subject, check, cfg)
    if (keys := _checked("keys", _keys, cfg)).found:
        yield keys
    for subject, check in (("re-weighting", _reweighting), ("re-sampling", _resampling), ("WANDB_PROJECT", _wandb)):
        finding = _checked(subject, check, cfg)
        if finding.found:  # empty: the config does not use it
            yield finding
        elif subject == "re-weighting" and (advice := reweighting_without_start(cfg.MODEL.LONG_TAIL.REWEIGHTING)):
            yield Finding(subject, "off", advice)
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder  # the checks share the class counts that are saved there
        yield from _data(cfg)


def _checked(subject: str, check: Callable[..., str], *arguments: Any) -> Finding:
    """The finding of one check: what it returns, or why it raises."""
    try:
        return Finding(subject, check(*arguments))
    except LtDetError as error:
        return Finding(subject, "training refuses this", str(error), fatal=True)
    except Exception as error:  # Detectron2 does not check everything, and then fails in any way
        reason = " ".join(str(error.args[0] if error.args else error).split())
        if isinstance(error, KeyError) and reason.endswith("registry!"):
            return Finding(subject, reason, f"correct the name; {_OTHER_SCRIPT}")
        return Finding(subject, "training fails with this", f"{type(error).__name__}: {reason}", fatal=True)


def _output_dir(cfg: Any) -> str:
    folder = Path(cfg.OUTPUT_DIR)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise LtDetError(f"OUTPUT_DIR {folder} cannot be written; choose another.")
    return str(folder)


def _device(cfg: Any) -> str:
    precision = amp_precision(cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION)
    prepare_device(cfg.MODEL.DEVICE, precision, cfg.DATALOADER.NUM_WORKERS)
    return f"{cfg.MODEL.DEVICE}, mixed precision in {cfg.SOLVER.AMP.PRECISION}" if precision else cfg.MODEL.DEVICE


def _batch(cfg: Any) -> str:
    images, passes = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE
    check_batch(images, passes)
    return f"{images} images" + (f" in {passes} passes" if passes > 1 else "")


def _keys(cfg: Any) -> str:
    check_detectron2_keys(cfg, training=True)
    return ""


def _weights(cfg: Any) -> str:
    weights, method = cfg.MODEL.WEIGHTS, cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
    check_decoupled_training(method, weights, cfg.OUTPUT_DIR, resume=False)
    if weights and "://" not in weights and not Path(weights.partition("?")[0]).is_file():  # ?: Detectron2's options
        raise LtDetError(f"MODEL.WEIGHTS {weights} does not exist; correct the path, or leave it empty for no weights.")
    return weights or "none, initialized at random"


def _reweighting(cfg: Any) -> str:
    start = reweighting_start(cfg)
    return "" if start is None else f"after {start:.0%} of the training"


def _resampling(cfg: Any) -> str:
    start = resampling_start(cfg)
    return "" if start is None else f"after {start:.0%} of the training"


def _wandb(cfg: Any) -> str:
    if cfg.WANDB_PROJECT:
        WandbWriter(cfg.WANDB_PROJECT, cfg.OUTPUT_DIR, {})
    return str(cfg.WANDB_PROJECT)


def _data(cfg: Any) -> Iterator[Finding]:
    """Check the datasets, and what a training derives from them."""
    names = dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    unusable = {name for name in names if name not in DatasetCatalog}
    if unusable:
        unknown = ", ".join(name for name in names if name in unusable)
        advice = f"list it in DATASETS.REGISTER; {_OTHER_SCRIPT}"
        yield Finding("datasets", f"{unknown}: not registered by this config", advice)
    for name in [name for name in names if name not in unusable]:
        for finding in _set(name):
            yield finding
            if finding.fatal:
                unusable.add(name)
    can_train = unusable.isdisjoint(cfg.DATASETS.TRAIN)
    class_stats, stats = cfg.MODEL.LONG_TAIL.CLASS_STATS, None
    try:
        stats = training_stats(cfg.DATASETS.TRAIN, class_stats=class_stats, cache_dir=cfg.OUTPUT_DIR)
    except LtDetError as error:
        if class_stats or can_train:  # otherwise a finding above says why
            yield Finding("classes", "cannot be counted", str(error), fatal=True)
    if stats is not None:
        yield _checked("classes", _classes, cfg, stats)
        yield _checked("buckets", _buckets, cfg, stats)
    yield _checked("network", _network, cfg, stats)
    if cfg.DATASETS.TRAIN and can_train:
        yield _checked("sampling", _sampling, cfg)
    for name in cfg.DATASETS.TEST:
        if name not in unusable:
            yield _checked("evaluation", _evaluation, cfg, name, stats)


def _set(name: str) -> Iterator[Finding]:
    """Check that the files of a registered set exist, and look for mistakes in its annotation file."""
    metadata = MetadataCatalog.get(name)
    json_file, image_root = metadata.get("json_file"), metadata.get("image_root")
    try:
        check_datasets([name])
        if not json_file:
            yield Finding(name, "registered with a function, without an annotation file")
            return
        data = annotations_of(name)
        problems = list(find_problems(data, json_file, image_root))
    except LtDetError as error:
        yield Finding(name, "cannot be used", str(error), fatal=True)
        return
    fatal = [problem.message for problem in problems if problem.fatal]
    harmless = [problem.message for problem in problems if not problem.fatal]
    if fatal:
        advice = f"correct the file; `lt-det stats {json_file} --images {image_root}` lists more of them"
        yield Finding(
            name, f"mistakes that make training fail: {len(fatal)}, the first: {fatal[0]}", advice, fatal=True
        )
    if harmless:
        advice = "training leaves these out or repairs them; evaluation treats them as the official tools do"
        yield Finding(name, f"harmless mistakes: {len(harmless)}, the first: {harmless[0]}", advice)
    if not problems:
        yield Finding(name, f"{len(data['images'])} images, {len(data['annotations'])} annotations in {json_file}")


def _classes(cfg: Any, stats: ClassStats) -> str:
    key, number = num_classes_of(cfg)
    stats.check_num_classes(number, key)
    return f"{stats.num_classes} in {stats.source}, equal to NUM_CLASSES"


def _buckets(cfg: Any, stats: ClassStats) -> str:
    buckets = buckets_of_config(cfg, stats)
    return ", ".join(f"{name} {size}" for name, size in zip(buckets.names, buckets.sizes(), strict=True))


def _network(cfg: Any, stats: ClassStats | None) -> str:
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"  # the device has a check of its own
    model = LongTailTrainer.build_model(cfg)
    if stats is not None:
        require_statistics(model)
    LongTailTrainer.build_lr_scheduler(cfg, LongTailTrainer.build_optimizer(cfg, model))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return f"{trained:,} weights to train"


def _sampling(cfg: Any) -> str:
    LongTailTrainer.build_train_loader(cfg)
    return str(cfg.DATALOADER.SAMPLER_TRAIN)


def _evaluation(cfg: Any, name: str, stats: ClassStats | None) -> str:
    buckets = bucket_options(cfg)
    if stats is None and buckets is not None and buckets.bucket_map is None:
        buckets = None  # they are made of counts, which doctor does not have
    LongTailEvaluator(name, stats=stats, buckets=buckets, distributed=False, draws=cfg.TEST.RESAMPLES)
    return (
        f"{name} has the classes of training" if stats is not None else f"{name}; the classes of training are not known"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Log errors only."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
