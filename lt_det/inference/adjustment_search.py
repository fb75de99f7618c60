"""Choose the strength of a post-hoc adjustment of a trained classifier, and write the adjusted checkpoint."""

from __future__ import annotations

import copy
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from lt_det.config import bucket_options
from lt_det.data.class_names import class_names
from lt_det.errors import LtDetError, writing_advice
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.evaluation.progress import Track
from lt_det.io.atomic import atomic_files, check_folder
from lt_det.modeling import LongTailPredictor
from lt_det.modeling.post_hoc_adjustment import METHODS, adjusted
from lt_det.statistics.class_stats import ClassStats
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.detectron2_keys.test_time_augmentation import warn_of_plain_predictions
from lt_det.training.launch.single_process import silence_inference
from lt_det.training.preflight import check_datasets, prepare_device, training_stats_of
from lt_det.training.resume.checkpoint_folder import holds_checkpoint
from lt_det.training.trainer import LongTailTrainer

logger = logging.getLogger(__name__)

# The names say "calibration" as the config key does: scripts of users read these files.
WEIGHTS_NAME = "model_calibrated"
RESULTS_NAME = "calibration.json"

Classifiers = list[dict[str, Tensor]]  # one state dict for each stage


@dataclass(frozen=True)
class AdjustmentSearch:
    """The result of a search: the values that were tried, with their metrics.

    Attributes:
        method: a key of `METHODS`.
        data: the dataset that was evaluated.
        buckets: names of the frequency buckets.
        metrics: box metrics in percent, by tau or gamma; the first value is 0, the unadjusted checkpoint.
    """

    method: str
    data: str
    buckets: tuple[str, ...]
    metrics: dict[float, dict[str, float]]

    @property
    def chosen(self) -> float:
        """The value with the best AP; the smallest one if several are equal."""
        return max(self.metrics, key=lambda value: (self.metrics[value]["AP"], -value))


def search_adjustment(cfg: Any, track: Track = iter) -> AdjustmentSearch:
    """Evaluate MODEL.WEIGHTS under each value of MODEL.LONG_TAIL.CALIBRATION, and write the best to OUTPUT_DIR.

    The checkpoint, a config to evaluate it with and ``calibration.json`` are written together, after the search.

    Args:
        cfg: its datasets are registered.
        track: wraps the loop over the images, to show progress.

    Raises:
        LtDetError: keys, weights, data or OUTPUT_DIR cannot be used.
    """
    method, values = _method_and_values(cfg)
    data = cfg.MODEL.LONG_TAIL.CALIBRATION.DATA or next(iter(cfg.DATASETS.TEST), "")
    if not data:
        raise LtDetError("There is no dataset to evaluate on; set MODEL.LONG_TAIL.CALIBRATION.DATA.")
    silence_inference()
    warn_of_plain_predictions(cfg)
    check_datasets([data])
    _check_folder(cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS)
    prepare_device(cfg.MODEL.DEVICE, None, cfg.DATALOADER.NUM_WORKERS)
    stats = training_stats_of(cfg)
    evaluator = LongTailEvaluator(
        data, stats=stats, buckets=bucket_options(cfg), distributed=False, max_dets=cfg.TEST.MAX_DETS
    )
    if not evaluator.context.num_objects.any():
        raise LtDetError(
            f"'{data}' has no annotations to evaluate with; choose another MODEL.LONG_TAIL.CALIBRATION.DATA."
        )
    model = _trained_model(cfg)
    classifiers = _candidates(model, method, values, stats)
    if data in cfg.DATASETS.TEST:
        logger.warning(
            "%s is in DATASETS.TEST, and metrics on the images that a value was chosen on are too optimistic; set "
            "MODEL.LONG_TAIL.CALIBRATION.DATA to another dataset.",
            data,
        )
    metrics = _evaluate(model, classifiers, LongTailTrainer.build_test_loader(cfg, data), evaluator, track)
    search = AdjustmentSearch(method, data, evaluator.buckets.names, metrics)
    _load(model, classifiers[search.chosen])
    _write(cfg, model, search)
    return search


def _method_and_values(cfg: Any) -> tuple[str, list[float]]:
    """MODEL.LONG_TAIL.CALIBRATION, checked; 0, the unchanged checkpoint, is always added."""
    method, values = cfg.MODEL.LONG_TAIL.CALIBRATION.METHOD, cfg.MODEL.LONG_TAIL.CALIBRATION.VALUES
    if method not in METHODS:
        raise LtDetError(f"MODEL.LONG_TAIL.CALIBRATION.METHOD is '{method}'; write one of {', '.join(METHODS)}.")
    if not all(isinstance(value, int | float) and 0 <= value < math.inf for value in values) or not any(values):
        raise LtDetError(
            f"MODEL.LONG_TAIL.CALIBRATION.VALUES are {list(values)}; write numbers of at least 0, not all of them 0."
        )
    return method, sorted({0.0, *map(float, values)})


def _check_folder(output_dir: str, weights: str) -> None:
    folder = Path(output_dir)
    if holds_checkpoint(folder) or Path(weights).resolve().parent == folder.resolve():
        raise LtDetError(
            f"OUTPUT_DIR {output_dir} is the folder of a training or of the weights, and its config would be "
            "overwritten; choose a new folder."
        )
    check_folder(Path(output_dir), "OUTPUT_DIR")


def _trained_model(cfg: Any) -> nn.Module:
    """The model with MODEL.WEIGHTS, predicting boxes only, because box AP decides."""
    model = build_model(cfg)
    if not _predictors(model):
        raise LtDetError(
            "The model has no lt_det box head to adjust; set MODEL.ROI_HEADS.NAME to LongTailROIHeads, "
            "LongTailCascadeROIHeads or LongTailRes5ROIHeads, which read the checkpoints of Detectron2's heads."
        )
    method = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
    evaluation_checkpointer(model, "", method, class_names(cfg)).load(cfg.MODEL.WEIGHTS)
    model.roi_heads.mask_on = model.roi_heads.keypoint_on = False
    return model.eval()


def _predictors(model: nn.Module) -> list[LongTailPredictor]:
    return [module for module in model.modules() if isinstance(module, LongTailPredictor)]


def _candidates(model: nn.Module, method: str, values: list[float], stats: ClassStats) -> dict[float, Classifiers]:
    """The adjusted classifiers by value."""
    by = METHODS[method]
    counts = None if by is None else torch.as_tensor(stats.training_counts(by))
    return {
        value: [adjusted(stage.cls_score, stage.loss, method, value, counts) for stage in _predictors(model)]
        for value in values
    }


def _load(model: nn.Module, classifiers: Classifiers) -> None:
    for stage, state in zip(_predictors(model), classifiers, strict=True):
        stage.cls_score.load_state_dict(state)


@torch.no_grad()
def _evaluate(
    model: Any, candidates: dict[float, Classifiers], loader: Any, evaluator: LongTailEvaluator, track: Track
) -> dict[float, dict[str, float]]:
    """Metrics by value.

    Features and proposals of an image are computed once; the ROI heads run for each value, so that the metrics are
    exactly those of the written checkpoint.
    """
    evaluators = {value: copy.copy(evaluator) for value in candidates}  # they share the ground truth
    for value_evaluator in evaluators.values():
        value_evaluator.reset()
    for _, inputs in zip(track(range(len(loader))), loader, strict=True):
        images = model.preprocess_image(inputs)
        features = model.backbone(images.tensor)
        if model.proposal_generator is None:  # proposals come with the data
            proposals = [image["proposals"].to(model.device) for image in inputs]
        else:
            proposals, _ = model.proposal_generator(images, features, None)
        for value, classifiers in candidates.items():
            _load(model, classifiers)
            instances, _ = model.roi_heads(images, features, proposals, None)
            evaluators[value].process(inputs, model._postprocess(instances, inputs, images.image_sizes))
    return {value: (one.evaluate() or {})["bbox"] for value, one in evaluators.items()}


def _write(cfg: Any, model: nn.Module, search: AdjustmentSearch) -> None:
    """Write the files together, so that an interruption never leaves a checkpoint without its config."""
    folder = Path(cfg.OUTPUT_DIR)
    written = cfg.clone()
    written.defrost()
    written.MODEL.WEIGHTS = str(folder / f"{WEIGHTS_NAME}.pth")
    results = {
        "method": search.method,
        "data": search.data,
        "weights": cfg.MODEL.WEIGHTS,
        "chosen": search.chosen,
        "grid": [
            {"value": value, **{name: None if math.isnan(ap) else ap for name, ap in metrics.items()}}
            for value, metrics in search.metrics.items()
        ],
    }
    with atomic_files(folder, (f"{WEIGHTS_NAME}.pth", "config.yaml", RESULTS_NAME)) as unfinished:
        evaluation_checkpointer(model, str(unfinished), cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD).save(WEIGHTS_NAME)
        try:
            (unfinished / "config.yaml").write_text(written.dump())
            (unfinished / RESULTS_NAME).write_text(json.dumps(results, allow_nan=False, indent=1) + "\n")
        except OSError as error:
            reason, advice = error.strerror or error, writing_advice(error)
            raise LtDetError(f"{folder} cannot be written ({reason}); {advice}.") from error
