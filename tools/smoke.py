#!/usr/bin/env python
"""The steps of tools/smoke.sh, each a process of its own: train, select, evaluate, extrapolate.

They share the folder OUT: `train` writes train.json or, with --resume, resume.json; `select` writes the config of the
evaluation and the annotations of some images; `evaluate` writes evaluate.json.
"""

import argparse
import itertools
import json
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lt_det.compat.quiet_import  # noqa: F401 - Detectron2 without its deprecation warnings

# isort: split
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from lt_det.data.registration import evaluation_format
from lt_det.datasets.splitting import select_part
from lt_det.errors import LtDetError, exit_code_of
from lt_det.io.annotations.coco_json import load_original
from lt_det.terminal import count_of
from lt_det.training import LongTailTrainer, argument_parser, load_config, run, setup, validation_loss
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.log.hooks import peak_memory
from lt_det.training.preemption import Stopped

OUT = Path(os.environ.get("OUT", "output/smoke"))


class StopAndMeasure(HookBase):
    """Measures iterations, and stops the training by SIGUSR1, as SLURM does before the time limit."""

    def __init__(self, iterations: int) -> None:
        self._iterations, self._starts = iterations, list[float]()

    def before_step(self) -> None:
        self._starts.append(time.perf_counter())
        if len(self._starts) == self._iterations:
            os.kill(os.getpid(), signal.SIGUSR1)

    def seconds_per_iteration(self) -> float:
        """Median of the slowest process, without the first iteration if there are others."""
        seconds = [end - start for start, end in itertools.pairwise(self._starts)]
        return max(comm.all_gather(statistics.median(seconds[1:] or seconds)))


class Timed(DatasetEvaluator):
    """Measures the seconds that the network and the metrics take."""

    def __init__(self, evaluator: DatasetEvaluator) -> None:
        self._evaluator = evaluator

    def reset(self) -> None:
        self._evaluator.reset()
        self._start = time.perf_counter()

    def process(self, inputs: Any, outputs: Any) -> None:
        self._evaluator.process(inputs, outputs)

    def evaluate(self) -> Any:
        comm.synchronize()
        self.inference = time.perf_counter() - self._start
        results = self._evaluator.evaluate()
        comm.synchronize()
        self.metrics = time.perf_counter() - self._start - self.inference
        return results


def train(args: argparse.Namespace) -> None:
    cfg = setup(args)
    trainer = LongTailTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    first, iterations = trainer.start_iter, int(os.environ["ITERATIONS"])
    if args.resume and first != iterations:
        raise LtDetError(f"The resumed training starts at iteration {first} instead of {iterations}.")
    if first + iterations >= trainer.max_iter:
        raise LtDetError(
            f"SOLVER.MAX_ITER is {trainer.max_iter}, which two parts of {count_of(iterations, 'iteration')} would "
            "reach; set ITERATIONS to fewer."
        )
    measure = StopAndMeasure(iterations)
    trainer.register_hooks([measure])
    try:
        trainer.train()
    except Stopped:
        _write("resume" if args.resume else "train", _figures(trainer, measure, iterations))
        raise


def _figures(trainer: LongTailTrainer, measure: StopAndMeasure, iterations: int) -> dict[str, Any]:
    cfg = trainer.cfg  # scaled to the number of processes
    return {
        "iterations": iterations,
        "seconds_per_iteration": measure.seconds_per_iteration(),
        "memory": max(comm.all_gather(peak_memory())),
        "max_iter": cfg.SOLVER.MAX_ITER,
        "checkpoint_period": cfg.SOLVER.CHECKPOINT_PERIOD,
        "max_to_keep": cfg.SOLVER.MAX_TO_KEEP,
        "keeps_best": bool(cfg.SOLVER.BEST_CHECKPOINT.METRIC),
        "eval_period": cfg.TEST.EVAL_PERIOD,
        "processes": comm.get_world_size(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU",
    }


def _write(name: str, figures: Mapping[str, Any]) -> None:
    if comm.is_main_process():
        (OUT / f"{name}.json").write_text(json.dumps(figures))
    comm.synchronize()  # the first process to exit ends the others, and an interrupted training exits after this


def select() -> None:
    """Write the annotations of IMAGES images of each test set, evenly spaced, and a config that evaluates them."""
    training = OUT / "training"
    cfg = load_config(str(training / "config.yaml"), [])
    config = yaml.safe_load((training / "config.yaml").read_text())
    sets: dict[str, dict[str, str]] = {}
    images = 0
    for name in cfg.DATASETS.TEST:
        metadata = MetadataCatalog.get(name)
        data, normalized = load_original(Path(metadata.json_file))
        total = len(data["images"])
        step = max(total / int(os.environ["IMAGES"]), 1)
        chosen = {math.floor(index * step) for index in range(math.ceil(total / step))}
        part = select_part(data, normalized, [int(index in chosen) for index in range(total)], 1)
        file = OUT / f"images_of_{len(sets)}.json"
        file.write_text(json.dumps(part))
        kind = evaluation_format(name)
        sets[f"smoke_{len(sets)}"] = {"JSON": str(file), "IMAGES": metadata.image_root, "FORMAT": kind}
        images += total
    config["DATASETS"]["TEST"] = list(sets)
    config["DATASETS"]["REGISTER"] = {**(config["DATASETS"].get("REGISTER") or {}), **sets}
    config["OUTPUT_DIR"] = str(OUT / "evaluation")
    config["MODEL"]["WEIGHTS"] = str(training / (training / "last_checkpoint").read_text())
    (OUT / "evaluation.yaml").write_text(yaml.safe_dump(config))
    _write("select", {"images": images})


def evaluate(args: argparse.Namespace) -> None:
    args.eval_only = True
    cfg = setup(args)
    model = LongTailTrainer.build_model(cfg)
    checkpointer = evaluation_checkpointer(model, cfg.OUTPUT_DIR, cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    evaluators = [Timed(LongTailTrainer.build_evaluator(cfg, name)) for name in cfg.DATASETS.TEST]
    LongTailTrainer.test(cfg, model, evaluators)
    figures = {
        "images": sum(len(DatasetCatalog.get(name)) for name in cfg.DATASETS.TEST),
        "inference": sum(evaluator.inference for evaluator in evaluators),
        "metrics": sum(evaluator.metrics for evaluator in evaluators),
        "validation_loss": _seconds_of_validation_loss(cfg, model) if cfg.TEST.VAL_LOSS else None,
        "bytes": _size(Path(cfg.OUTPUT_DIR) / "inference"),
    }
    _write("evaluate", figures)


def _seconds_of_validation_loss(cfg: Any, model: torch.nn.Module) -> float:
    loaders = [LongTailTrainer.build_validation_loader(cfg, name) for name in cfg.DATASETS.TEST]
    comm.synchronize()
    start = time.perf_counter()
    with EventStorage():
        for loader in loaders:
            validation_loss(model, loader)
    comm.synchronize()
    return time.perf_counter() - start


def extrapolate() -> None:
    """Print the table, and write it to smoke.md."""
    parts = {name: json.loads((OUT / f"{name}.json").read_text()) for name in ("train", "resume", "select", "evaluate")}
    checkpoint = max(path.stat().st_size for path in (OUT / "training").glob("model_*.pth"))
    text = table(parts["train"], parts["resume"], parts["evaluate"], parts["select"]["images"], checkpoint)
    (OUT / "smoke.md").write_text(text)
    print(text)


def table(
    train: Mapping[str, Any], resumed: Mapping[str, Any], evaluation: Mapping[str, Any], images: int, checkpoint: int
) -> str:
    """The figures as a Markdown table.

    Args:
        train: content of train.json.
        resumed: content of resume.json.
        evaluation: content of evaluate.json.
        images: images in the test sets.
        checkpoint: bytes of a checkpoint.
    """
    max_iter, iterations = resumed["max_iter"], train["iterations"] + resumed["iterations"]
    seconds = max(train["seconds_per_iteration"], resumed["seconds_per_iteration"])
    training = seconds * max_iter
    ratio = images / max(evaluation["images"], 1)
    network, metrics = evaluation["inference"] * ratio, evaluation["metrics"] * ratio
    losses = (evaluation["validation_loss"] or 0.0) * ratio
    evaluations = math.ceil(max_iter / (resumed["eval_period"] or max_iter)) if images else 0
    saved = max_iter // resumed["checkpoint_period"]
    kept = 1 + min(saved, (resumed["max_to_keep"] or saved) + 1)  # the next is written before the oldest is deleted
    kept += 2 * resumed["keeps_best"]  # model_best, of which the next is written before the last is replaced
    files, all_files = evaluation["bytes"], evaluation["bytes"] * ratio
    some, all_ = count_of(evaluation["images"], "image"), count_of(images, "image")
    total = (training + evaluations * (network + metrics + losses)) / 3600
    memory = f"peak of {_bytes(max(train['memory'], resumed['memory']))} per process"
    validation = (
        "validation loss",
        f"{some}: {evaluation['validation_loss'] or 0:.3g} s",
        f"{all_}: {losses / 60:.3g} min",
    )
    rows = [
        ("", "measured", "whole training, extrapolated"),
        ("---", "---", "---"),
        ("training", f"{seconds:.3g} s per iteration", f"{count_of(max_iter, 'iteration')}: {training / 3600:.3g} h"),
        ("evaluation, network", f"{some}: {evaluation['inference']:.3g} s", f"{all_}: {network / 60:.3g} min"),
        ("evaluation, metrics", f"{some}: {evaluation['metrics']:.3g} s", f"{all_}: at most {metrics / 60:.3g} min"),
        *([] if evaluation["validation_loss"] is None else [validation]),
        ("training and evaluations", "", f"{count_of(evaluations, 'evaluation')}: {total:.3g} h"),
        ("memory", memory, "the same, or more for larger images"),
        ("checkpoints", f"{_bytes(checkpoint)} each", f"at most {kept} at a time: {_bytes(kept * checkpoint)}"),
        ("evaluation files", f"{some}: {_bytes(files)}", f"{all_}: at most {_bytes(all_files)}"),
        ("disk", "", "at most " + _bytes(kept * checkpoint + all_files)),
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    count = resumed["processes"]
    title = (
        f"Measured in {count_of(iterations, 'iteration')}, with {count_of(count, 'process')} on {resumed['device']}:"
    )
    return "\n".join(["", title, "", *lines, ""])


def _bytes(number: float) -> str:
    return f"{number / 1e9:.3g} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    step = sys.argv.pop(1)
    if step in ("select", "extrapolate"):
        return exit_code_of({"select": select, "extrapolate": extrapolate}[step], traceback=False)
    return run({"train": train, "evaluate": evaluate}[step], argument_parser().parse_args())


if __name__ == "__main__":
    sys.exit(main())
