#!/usr/bin/env python
"""Train or judge a LazyConfig.

tools/lazyconfig_train_net.py --config configs/lazy/lvis_eql.py --num-gpus 8
tools/lazyconfig_train_net.py --config configs/lazy/mini_lvis_eql.py train.max_iter=100
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, instantiate
from detectron2.engine import hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from detectron2.utils.registry import locate
from omegaconf import OmegaConf
from torch import nn

from lt_det.data import training_stats, training_stats_or_none
from lt_det.data.worker_signals import end_only_with_parent
from lt_det.losses import require_statistics
from lt_det.modeling import build_loss_for_data
from lt_det.reporting import write_report
from lt_det.training import (
    LongTailCheckpointer,
    NameUnreadable,
    argument_parser,
    build_checkpointer,
    evaluation_timeout,
    run,
    setup_lazy,
    train_classifier_only,
    watched,
)
from lt_det.training.accumulation import amp_precision, build_step_trainer
from lt_det.training.checkpointer import judging_checkpointer, tell_if_finished
from lt_det.training.hooks import build_log_hooks
from lt_det.training.preemption import EvalUnlessStopped, StopOnInterrupt, StoppableEvaluator
from lt_det.training.resume.image_stream import ImageStream
from lt_det.training.resume.metrics_log import rewind_metrics
from lt_det.training.resume.rng import SeedPasses
from lt_det.training.writers import build_writers


def main(args: argparse.Namespace) -> None:
    cfg = setup_lazy(args)
    evaluator = cfg.dataloader.evaluator
    evaluator.output_dir = str(Path(cfg.train.output_dir) / "inference" / cfg.dataloader.test.dataset.names)
    cache_counts(cfg, cfg.train.output_dir)
    for loader in (cfg.dataloader.test, cfg.dataloader.train):  # Detectron2's test mapper refers to the other's node
        loader.mapper = NameUnreadable(instantiate(loader.mapper))
    ddp = dict(cfg.train.ddp) | ({"device_ids": None} if cfg.train.device == "cpu" else {})
    network = instantiate(cfg.model).to(cfg.train.device)
    if not args.eval_only:
        train_classifier_only(network, cfg.train.get("second_stage", ""))
    model = create_ddp_model(network, **ddp)
    if args.eval_only:
        checkpointer = judging_checkpointer(model, cfg.train.output_dir, cfg.train.get("second_stage", ""))
        checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=args.resume)
        judge(cfg, model)
    else:
        train(cfg, model, resume=args.resume)
    if comm.is_main_process():
        print(f"Report: {write_report(cfg.train.output_dir)}")


def cache_counts(node: Any, folder: str) -> None:
    """Have training sets counted once, and not again for each loss, each sampler and at every evaluation."""
    if OmegaConf.is_dict(node):
        target = node.get("_target_")
        target = locate(target) if isinstance(target, str) else target
        if target in (build_loss_for_data, training_stats, training_stats_or_none):
            node.cache_dir = node.get("cache_dir") or folder
    for key in range(len(node)) if OmegaConf.is_list(node) else list(node):
        elsewhere = OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key)
        if not elsewhere and OmegaConf.is_config(node[key]):
            cache_counts(node[key], folder)


def judge(cfg: Any, model: nn.Module) -> Any:
    loader = instantiate(cfg.dataloader.test)
    end_only_with_parent(loader)
    with evaluation_timeout():
        results = inference_on_dataset(model, loader, StoppableEvaluator(instantiate(cfg.dataloader.evaluator)))
    if comm.is_main_process():
        print_csv_format(results)
    return results


def train(cfg: Any, model: nn.Module, resume: bool) -> None:
    require_statistics(model)
    # Now, and not after the hours up to the first evaluation.
    evaluator = instantiate(cfg.dataloader.evaluator) if comm.is_main_process() else None
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    if cfg.train.get("clip_norm", 0.0):
        clipping = {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": cfg.train.clip_norm, "NORM_TYPE": 2.0}
        optimizer = maybe_add_gradient_clipping(CfgNode({"SOLVER": {"CLIP_GRADIENTS": clipping}}), optimizer)
    passes, step_images = cfg.train.get("accumulate", 1), cfg.dataloader.train.total_batch_size
    cfg.dataloader.train.total_batch_size = step_images // passes
    loader = instantiate(cfg.dataloader.train)
    precision = amp_precision(cfg.train.amp.enabled, cfg.train.amp.get("precision", "float16"))
    trainer = build_step_trainer(model, loader, optimizer, precision, passes)
    seed = cfg.train.get("seed", -1)
    images = ImageStream(loader, seed)
    method, output_dir = cfg.train.get("second_stage", ""), cfg.train.output_dir
    checkpointer = build_checkpointer(method, model, output_dir, trainer=trainer, image_stream=images)
    main_process = comm.is_main_process()
    buckets = evaluator.buckets if evaluator else None
    trainer.register_hooks(
        [
            SeedPasses(model, seed),
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
            hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer) if main_process else None,
            EvalUnlessStopped(cfg.train.eval_period, lambda: judge(cfg, model)),
            *build_log_hooks(model, step_images, buckets, cfg.train.log_period),
            hooks.PeriodicWriter(writers(cfg, checkpointer), cfg.train.log_period) if main_process else None,
            StopOnInterrupt(checkpointer),
        ]
    )
    checkpointer.exact = goes_on = resume and checkpointer.has_checkpoint()
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    start = trainer.iter + 1 if goes_on else 0
    tell_if_finished(checkpointer, start, cfg.train.max_iter)
    images.skip(start * step_images // comm.get_world_size())
    if start and main_process:
        rewind_metrics(cfg.train.output_dir, start)
    with watched(trainer, checkpointer):
        trainer.train(start, cfg.train.max_iter)


def writers(cfg: Any, checkpointer: LongTailCheckpointer) -> list[EventWriter]:
    project, shown = cfg.train.get("wandb_project", ""), OmegaConf.to_container(cfg.train)
    return build_writers(cfg.train.output_dir, cfg.train.max_iter, checkpointer, project, shown)


if __name__ == "__main__":
    sys.exit(run(main, argument_parser().parse_args()))
