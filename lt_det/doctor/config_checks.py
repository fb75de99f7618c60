"""`lt-det doctor --config`: all that a training checks before its first iteration and before its first evaluation."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.config import (
    buckets_of_config,
    check_schedule,
    num_classes_of,
    resampling_start,
    reweighting_start,
    reweighting_without_start,
)
from lt_det.data.class_counts import training_stats
from lt_det.data.formats import annotations_of
from lt_det.data.shared_images import repeated_sets, shared_images
from lt_det.doctor.finding import Finding
from lt_det.doctor.hints import hints
from lt_det.doctor.pixel_statistics import unfit_pixel_statistics
from lt_det.doctor.training_trial import TrainingTrial
from lt_det.errors import LtDetError, reason_of
from lt_det.io.annotations.checks import find_problems
from lt_det.io.plain_values.yaml_files import UNSAFE_OPTION
from lt_det.modeling.compilation import check_compiler
from lt_det.statistics.bucket_advice import one_bucket_advice
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of
from lt_det.training.accumulation import amp_precision
from lt_det.training.config_files.shipped import config_path
from lt_det.training.config_files.without_effect import doubtful_pixels, doubtful_rates, settings_without_effect
from lt_det.training.config_loading import load_config
from lt_det.training.decoupled import check_decoupled_training
from lt_det.training.detectron2_keys.checks import check_detectron2_keys
from lt_det.training.detectron2_keys.part_names import misspelled_part
from lt_det.training.hooks.options import HookOptions
from lt_det.training.log.wandb_writer import WandbWriter
from lt_det.training.preflight import check_batch, check_datasets, check_expected_results, prepare_device
from lt_det.training.trial import quiet
from lt_det.training.weights.address import check_remote_weights
from lt_det.training.weights.reading import read_weights
from lt_det.training.world_size_scaling import scaled_to_processes

_OTHER_SCRIPT = "if a script of your own registers it, doctor cannot check it"
_FAILS = "training fails with this"  # an error of Detectron2


def examine_config(config_file: str, opts: Sequence[str] = (), allow_unsafe: bool = False) -> Iterator[Finding]:
    """Check a config as a training in one process does; the training refuses what is fatal here.

    Nothing is written to OUTPUT_DIR. Large annotation files go into the cache, where the training finds them.

    Args:
        config_file: a yaml config.
        opts: KEY VALUE overrides of it.
        allow_unsafe: see `load_config`.

    Yields:
        one finding per check, as soon as it is known.
    """
    reported: list[Finding] = []
    findings = _findings(config_file, opts, allow_unsafe, lambda: any(finding.fatal for finding in reported))
    with quiet():  # the findings say what the log would
        while (finding := _next(findings, config_file)) is not None:
            if not (finding.fatal and _is_consequence(finding, reported)):
                yield finding
            reported.append(finding)


def _is_consequence(finding: Finding, reported: Sequence[Finding]) -> bool:
    """Whether a fatal finding may be of a mistake that was named before: one mistake can make several checks fail."""
    if finding.found == _FAILS and any(other.fatal and other.subject == "keys" for other in reported):
        return True
    return finding.advice in {other.advice for other in reported}


def _next(findings: Iterator[Finding], config_file: str) -> Finding | None:
    """The next finding, also where what is between the checks fails, which ends them; None at the end."""
    try:
        return next(findings, None)
    except Exception as error:  # Detectron2 does not check everything, and then fails in any way
        reason = str(error) if isinstance(error, LtDetError) else reason_of(error)
        return Finding("config", config_file, reason, fatal=True)


def _findings(
    config_file: str, opts: Sequence[str], allow_unsafe: bool, failed: Callable[[], bool]
) -> Iterator[Finding]:
    """
    Args:
        config_file, opts, allow_unsafe: see `examine_config`.
        failed: whether a finding before was fatal.
    """
    places: dict[str, Path] = {}
    cfg = scaled_to_processes(load_config(config_file, opts, allow_unsafe, places), 1)
    yield Finding("config", f"{config_file}: loss {cfg.MODEL.LONG_TAIL.LOSS.NAME}, {cfg.MODEL.ROI_HEADS.NAME}")
    if allow_unsafe:
        yield Finding("config", f"{UNSAFE_OPTION}: code in its tags was run", "write plain values, and omit the option")
    device = "cpu"
    for subject, check in (
        ("OUTPUT_DIR", _output_dir),
        ("device", _device),
        ("batch", _batch),
        ("weights", _weights),
        ("schedule", _schedule),
        ("keys", _keys),
        ("expected", _expected),
    ):
        finding = _checked(subject, check, cfg)
        if finding.found:  # empty: the config does not use it
            yield finding
        if subject == "device" and not finding.fatal:
            device = cfg.MODEL.DEVICE
    for message in settings_without_effect(cfg, Path(config_path(config_file)), places, opts):
        yield Finding("keys", "without effect", message)
    if unfit := unfit_pixel_statistics(cfg):
        yield unfit
    else:
        for message in doubtful_pixels(cfg):
            yield Finding("pixels", f"MODEL.PIXEL_MEAN {list(cfg.MODEL.PIXEL_MEAN)}", message)
    for subject, check in (("re-weighting", _reweighting), ("re-sampling", _resampling), ("WANDB_PROJECT", _wandb)):
        finding = _checked(subject, check, cfg)
        if finding.found:  # empty: the config does not use it
            yield finding
        elif subject == "re-weighting" and (advice := reweighting_without_start(cfg.MODEL.LONG_TAIL.REWEIGHTING)):
            yield Finding(subject, "off", advice)
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder  # the checks share the class counts that are saved there
        cfg.MODEL.DEVICE = device
        yield from _data(cfg, failed)


def _checked(subject: str, check: Callable[..., str | Finding], *arguments: Any) -> Finding:
    """The finding of one check: what it returns, or why it raises."""
    try:
        found = check(*arguments)
        return found if isinstance(found, Finding) else Finding(subject, found)
    except LtDetError as error:
        return Finding(subject, "training refuses this", str(error), fatal=True)
    except Exception as error:  # Detectron2 does not check everything, and then fails in any way
        reason = " ".join(str(error.args[0] if error.args else error).split())
        if isinstance(error, KeyError) and reason.endswith("registry!"):
            return Finding(subject, misspelled_part(error) or reason, f"correct the name; {_OTHER_SCRIPT}")
        reason = f"{type(error).__name__}: {reason}" if reason else reason_of(error)  # an assertion without a text
        return Finding(subject, _FAILS, misspelled_part(error) or reason, fatal=True)


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
    return count_of(images, "image") + (f" in {count_of(passes, 'pass')}" if passes > 1 else "")


def _schedule(cfg: Any) -> Finding:
    check_schedule(cfg)
    beyond = [step for step in cfg.SOLVER.STEPS if step > cfg.SOLVER.MAX_ITER]
    no_effect = f"; SOLVER.STEPS {beyond} are beyond them and have no effect" if beyond else ""
    found = f"{count_of(cfg.SOLVER.MAX_ITER, 'iteration')}{no_effect}"
    return Finding("schedule", found, "; ".join(doubtful_rates(cfg)))


def _keys(cfg: Any) -> str:
    check_detectron2_keys(cfg, training=True)
    HookOptions.from_config(cfg)
    if cfg.MODEL.COMPILE:
        check_compiler(cfg.MODEL.DEVICE.partition(":")[0])
    return ""


def _weights(cfg: Any) -> str:
    weights, method = cfg.MODEL.WEIGHTS or "", cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
    check_decoupled_training(method, weights, cfg.OUTPUT_DIR, resume=False)
    if weights and (remote := check_remote_weights(weights)):
        return remote
    if weights and "://" not in weights and not Path(weights.partition("?")[0]).exists():  # ?: Detectron2's options
        raise LtDetError(f"MODEL.WEIGHTS {weights} does not exist; correct the path, or leave it empty for no weights.")
    if weights and "://" not in weights:
        read_weights(weights.partition("?")[0])
    return weights or "none, initialized at random"


def _expected(cfg: Any) -> str:
    check_expected_results(cfg.TEST.EXPECTED_RESULTS, cfg.DATASETS.TEST)
    return count_of(len(cfg.TEST.EXPECTED_RESULTS), "result") if cfg.TEST.EXPECTED_RESULTS else ""


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


def _data(cfg: Any, failed: Callable[[], bool]) -> Iterator[Finding]:
    """Check the datasets, what a training derives from them, and its first iterations."""
    meta = cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS
    names = dict.fromkeys([*cfg.DATASETS.TRAIN, *meta, *cfg.DATASETS.TEST])
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
    for name in cfg.DATASETS.REGISTER:
        if name not in names:  # for a later evaluation, for example
            yield from (finding._replace(fatal=False) for finding in _set(name))
    can_train = unusable.isdisjoint([*cfg.DATASETS.TRAIN, *meta])
    for message in repeated_sets(cfg.DATASETS.TRAIN):
        yield Finding("datasets", message, "list it once; ignore this warning if the repetition is intended")
    if not unusable:
        for message in shared_images(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST):
            yield Finding("datasets", message, "use other images; ignore this warning if the overlap is intended")
    class_stats, stats = cfg.MODEL.LONG_TAIL.CLASS_STATS, None
    try:
        stats = training_stats(cfg.DATASETS.TRAIN, class_stats=class_stats, cache_dir=cfg.OUTPUT_DIR)
    except LtDetError as error:
        if class_stats or can_train:  # otherwise a finding above says why
            yield Finding("classes", "cannot be counted", str(error), fatal=True)
    if stats is not None:
        yield _checked("classes", _classes, cfg, stats)
        yield _checked("buckets", _buckets, cfg, stats)
        yield from hints(cfg, stats)
    trial = TrainingTrial(cfg, stats)
    yield _checked("network", trial.network)
    if trial.model is not None and stats is not None:
        finding = _checked("loss", trial.loss)
        if finding.found:  # empty: no head of the network has a loss of lt_det
            yield finding
    if cfg.DATASETS.TRAIN and can_train:
        yield _checked("sampling", trial.sampling)
        if trial.model is not None and trial.loader is not None:
            yield _checked("records", trial.records)
            if (finding := _checked("meta set", trial.meta_records)).found:
                yield finding
    for name in cfg.DATASETS.TEST:
        if name not in unusable:
            yield _checked("evaluation", trial.evaluation, name)
    if trial.model is not None and trial.loader is not None and not failed():
        trained = _checked("training", trial.iterations)
        yield trained
        if trial.problem_at_start and not trained.fatal:  # otherwise the error names it
            yield Finding("backbone", "starts from random weights", trial.problem_at_start)


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
    as_written = [problem.message for problem in problems if problem.as_written]
    harmless = [problem.message for problem in problems if not (problem.fatal or problem.as_written)]
    if fatal:
        advice = f"correct the file; `lt-det stats {json_file} --images {image_root}` lists more of them"
        yield Finding(
            name, f"mistakes that make training fail: {len(fatal)}, the first: {fatal[0]}", advice, fatal=True
        )
    if as_written:
        what = f"mistakes that training and evaluation take as they are: {len(as_written)}, the first: {as_written[0]}"
        yield Finding(name, what, "correct the file")
    if harmless:
        advice = "training leaves these out or repairs them; evaluation treats them as the official tools do"
        yield Finding(name, f"harmless mistakes: {len(harmless)}, the first: {harmless[0]}", advice)
    if not problems:
        images, annotations = count_of(len(data["images"]), "image"), count_of(len(data["annotations"]), "annotation")
        yield Finding(name, f"{images}, {annotations} in {json_file}")


def _classes(cfg: Any, stats: ClassStats) -> str:
    key, number = num_classes_of(cfg)
    stats.check_num_classes(number, key)
    return f"{stats.num_classes} in {stats.source}, equal to NUM_CLASSES"


def _buckets(cfg: Any, stats: ClassStats) -> Finding:
    buckets = buckets_of_config(cfg, stats)
    return Finding(
        "buckets",
        ", ".join(f"{name} {len(members)}" for name, members in buckets.filled()) or "none",
        one_bucket_advice(buckets, stats),
    )
