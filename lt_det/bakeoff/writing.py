"""Write a detector with the classifier of a candidate: an ordinary checkpoint and config of lt_det."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from torch import nn

from lt_det.bakeoff.detector import Classifiers, box_predictors, load_detector
from lt_det.data.class_counts import training_stats_or_none
from lt_det.errors import LtDetError, writing_advice
from lt_det.io.atomic import atomic_files, check_folder
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.config_loading import load_config
from lt_det.training.trainer import LongTailTrainer

WEIGHTS_NAME = "model_final"  # the name that demo and export look for


def write_detector(cfg: Any, candidate_cfg: Any, trained: Classifiers, folder: Path, name: str = WEIGHTS_NAME) -> Path:
    """Write ``<name>.pth`` and ``config.yaml`` together, so that an interruption leaves both or neither.

    Backbone, RPN, box regression and mask head are the detector's; classifiers and losses are the candidate's.

    Args:
        cfg: the detector's config with its MODEL.WEIGHTS; of Detectron2's heads or lt_det's.
        candidate_cfg: `detector_config` of it with the candidate's keys.
        trained: classifiers and losses that were trained with `candidate_cfg`, one for each stage.
        folder: becomes OUTPUT_DIR; created if missing. A detector that was written here before is replaced.
        name: name of the checkpoint, without its suffix.

    Returns:
        Path of the config, which ``lt-det train --eval-only``, demo, export and a fine-tuning take.

    Raises:
        LtDetError: `folder` cannot be written, or holds a training, the detector's weights, or another checkpoint.
    """
    folder = folder.absolute()
    _check_folder(folder, cfg.MODEL.WEIGHTS, f"{name}.pth")
    model = candidate_model(cfg, candidate_cfg, trained)
    written = candidate_cfg.clone()
    written.defrost()
    written.OUTPUT_DIR = str(folder)
    written.MODEL.WEIGHTS = str(folder / f"{name}.pth")
    with atomic_files(folder, (f"{name}.pth", "config.yaml")) as unfinished:
        evaluation_checkpointer(model, str(unfinished)).save(name)
        try:
            (unfinished / "config.yaml").write_text(written.dump())
        except OSError as error:
            reason, advice = error.strerror or error, writing_advice(error)
            raise LtDetError(f"{folder} cannot be written ({reason}); {advice}.") from error
    # On a machine without the training set, the loss, the buckets and the demo read the counts beside the weights.
    training_stats_or_none(
        written.DATASETS.TRAIN, class_stats=written.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=str(folder)
    )
    return folder / "config.yaml"


def candidate_model(cfg: Any, candidate_cfg: Any, trained: Classifiers) -> nn.Module:
    """The detector with the classifiers and losses of a candidate; arguments as for `write_detector`."""
    weights = load_detector(cfg).state_dict()
    with torch.random.fork_rng(devices=[]):  # the initial weights do not matter
        model: nn.Module = build_model(candidate_cfg)
    predictors = box_predictors(model)
    candidates = [module for predictor in predictors for module in (predictor.cls_score, predictor.loss)]
    names = tuple(f"{name}." for name, module in model.named_modules() if module in candidates)
    own = {key: value for key, value in model.state_dict().items() if key.startswith(names)}
    model.load_state_dict(own | {key: value for key, value in weights.items() if not key.startswith(names)})
    for predictor, classifier, loss in zip(predictors, trained.classifiers, trained.losses, strict=True):
        predictor.cls_score.load_state_dict(classifier)
        predictor.loss.load_state_dict(loss)
    return model.eval()


def evaluate_written(config: Path, dataset: str) -> dict[str, dict[str, float]]:
    """Metrics of a written detector as ``--eval-only`` computes them, for boxes and, if it predicts them, masks.

    The files for `lt-det report` are written to the folder of the config.

    Args:
        config: what `write_detector` returned.
        dataset: registered name.

    Returns:
        Metrics in percent by task ("bbox", "segm") and name.
    """
    return LongTailTrainer.evaluate(load_config(str(config), ["DATASETS.TEST", str((dataset,))]))


def _check_folder(folder: Path, weights: str, written: str) -> None:
    if (folder / "last_checkpoint").exists() or Path(weights).resolve().parent == folder.resolve():
        raise LtDetError(
            f"{folder} is the folder of a training or of the detector's weights, and its config would be overwritten; "
            "choose a new folder."
        )
    others = sorted(path.name for path in folder.glob("*.pth") if path.name != written)
    if others:
        raise LtDetError(f"{folder} holds {others[0]}, whose config would be overwritten; choose a new folder.")
    check_folder(folder, "The folder")
