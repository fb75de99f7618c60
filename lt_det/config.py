"""Every config key of lt_det, once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import read_json
from lt_det.losses import LOSSES, loss_class
from lt_det.meta.methods import checked_meta_name
from lt_det.statistics.buckets import LVIS_EDGES, BucketOptions, FrequencyBuckets, resolve_buckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import warn_once

META_DEFAULT = "balms"
EMA_DECAY = 0.9998

logger = logging.getLogger(__name__)

# Keys of MODEL.LONG_TAIL.REWEIGHTING that choose the weights.
REWEIGHTING_DEFAULTS: dict[str, Any] = {
    # Weights of the classes: `effective_number` (with `BETA`), `inverse_frequency` (with `POWER`), `sqrt` (a `POWER` of
    # 0.5), or the path of a json file with `{class name: weight}` or a list in the order of the classes.
    "WEIGHTS": "effective_number",
    "BETA": 0.9999,  # β of `effective_number`, at least 0 and below 1; the larger, the more rare classes weigh.
    "POWER": 1.0,  # Exponent of `inverse_frequency`, 0 to 1.
    # The weights have mean 1 over the `classes`, or over the training `instances`.
    "MEAN_OVER": "classes",
}


def add_keys(cfg: Any) -> None:
    """Add lt_det's keys to a Detectron2 config. Call it between `get_cfg()` and `merge_from_file`.

    The comment above a key, or behind it, describes the key to users: docs/config.py writes docs/config.md from it.
    """
    node = type(cfg) if isinstance(cfg, CfgNode) else CfgNode  # Detectron2's own subclass, wherever it lives

    cfg.MODEL.TIMM = node()
    # With `MODEL.BACKBONE.NAME build_timm_fpn_backbone`: name of the timm model under the FPN, such as
    # `tf_efficientnet_lite0`. Its weights come from `MODEL.WEIGHTS`.
    cfg.MODEL.TIMM.NAME = ""
    cfg.MODEL.TIMM.NORM = "FrozenBN"  # Its batch normalization: `FrozenBN`, `BN` or `SyncBN`.

    # True: compile the backbone with `torch.compile` in training; the first iterations then take minutes.
    cfg.MODEL.COMPILE = False

    cfg.MODEL.LONG_TAIL = node()
    # Last layer of the box classifier: `linear`, `cosine`, `scaled` (linear, with a scale per class), or `auto` for the
    # layer that the loss was published with.
    cfg.MODEL.LONG_TAIL.CLASSIFIER = "auto"
    # Scale of the cosine classifier, above 0. None: 20, or 1 for a loss that scales the cosines itself (`LDAM.SCALE`).
    cfg.MODEL.LONG_TAIL.COSINE_SCALE = None
    # Name of the loss that trained the classifier in `MODEL.WEIGHTS`, if neither the checkpoint nor a `config.yaml`
    # beside it says so. Empty: lt_det looks at the biases of the classifier.
    cfg.MODEL.LONG_TAIL.LOSS_OF_WEIGHTS = ""
    # File with the counts of the training classes: an annotation json, or the `class_stats.json` of another training.
    # Empty: lt_det counts `DATASETS.TRAIN`, and keeps the counts in `OUTPUT_DIR/class_stats.json`.
    cfg.MODEL.LONG_TAIL.CLASS_STATS = ""

    # Train only the classifier, on the network of the finished training that `MODEL.WEIGHTS` names.
    cfg.MODEL.LONG_TAIL.SECOND_STAGE = node()
    # How to train the classifier: `crt` (classifier re-training), `lws` (learnable weight scaling) or `meta`
    # (classifier re-training with meta-learned weights). Empty: train the whole detector.
    cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD = ""
    cfg.MODEL.LONG_TAIL.SECOND_STAGE.META = node()
    # What `meta` learns: `balms`, `meta_weight_net`, `l2rw`, `learned_tau` or `learned_margin`.
    cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.METHOD = META_DEFAULT
    # Registered datasets that `meta` learns from, with the same classes. Empty: those of `DATASETS.TRAIN`.
    cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS = ()

    # Multiply the loss of each RoI by a weight of its class, with any loss.
    cfg.MODEL.LONG_TAIL.REWEIGHTING = node(dict(REWEIGHTING_DEFAULTS))
    # When re-weighting begins: `first_lr_step` (the first step of the learning rate), a fraction of the training below
    # 1, or an iteration. 0: from the beginning. None: never.
    cfg.MODEL.LONG_TAIL.REWEIGHTING.START = None

    cfg.MODEL.LONG_TAIL.LOSS = node()
    cfg.MODEL.LONG_TAIL.LOSS.NAME = "softmax"  # Name of the box classifier's loss.
    # One node per loss, from the loss's own constructor: MODEL.LONG_TAIL.LOSS.EQL.FREQUENCY_THRESHOLD and so on.
    for name, loss in LOSSES.items():
        defaults = {key.upper(): value for key, value in loss.hyperparameters().items()}
        cfg.MODEL.LONG_TAIL.LOSS[name.upper()] = node(defaults)

    cfg.register_deprecated_key("MODEL.LONG_TAIL.LOSS.LOGIT_ADJUSTMENT.POST_HOC")  # in configs that trainings wrote

    # `lt-det adjust` adjusts a trained classifier without training.
    cfg.MODEL.LONG_TAIL.CALIBRATION = node()
    cfg.MODEL.LONG_TAIL.CALIBRATION.METHOD = ""  # The adjustment: `tau_norm`, `norcal` or `logit_adjustment`.
    cfg.MODEL.LONG_TAIL.CALIBRATION.VALUES = [0.2, 0.4, 0.6, 0.8, 1.0]  # Values of τ or γ to try; 0 is always tried.
    # Registered dataset on which the value is chosen. Empty: the first of `DATASETS.TEST`.
    cfg.MODEL.LONG_TAIL.CALIBRATION.DATA = ""

    # Gradient accumulation: forward and backward passes per optimizer step, 1 or more.
    cfg.SOLVER.ACCUMULATE = 1

    # How many of the latest checkpoints to keep beside `model_final.pth`, 1 or more. None: all.
    cfg.SOLVER.MAX_TO_KEEP = None

    cfg.SOLVER.BEST_CHECKPOINT = node()
    # Metric whose best checkpoint is kept as `model_best.pth`: `bbox/AP`, `segm/APr`, `bbox/bucket_mean` (the mean of
    # the buckets' AP), `val_total_loss` (with `TEST.VAL_LOSS`), or any other in `metrics.json`. Empty: keep none.
    cfg.SOLVER.BEST_CHECKPOINT.METRIC = ""
    # Which value of the metric is best: `max`, `min`, or `auto`: `min` for losses, otherwise `max`.
    cfg.SOLVER.BEST_CHECKPOINT.MODE = "auto"

    cfg.SOLVER.EARLY_STOPPING = node()
    # Stop after so many evaluations in a row without a better value of `SOLVER.BEST_CHECKPOINT.METRIC`. 0: never.
    cfg.SOLVER.EARLY_STOPPING.PATIENCE = 0
    # A value counts as better only if it is better by more than this, at least 0.
    cfg.SOLVER.EARLY_STOPPING.MIN_DELTA = 0.0

    cfg.SOLVER.EMA = node()
    # True: keep an exponential moving average of the weights, and evaluate it instead of the weights.
    cfg.SOLVER.EMA.ENABLED = False
    # Weight of the previous average, at least 0 and below 1: after each optimizer step,
    # `average = DECAY * average + (1 - DECAY) * weights`. The first steps use a smaller decay.
    cfg.SOLVER.EMA.DECAY = EMA_DECAY

    # Precision with `SOLVER.AMP.ENABLED True`: `float16`, or `bfloat16` (on GPUs from Ampere on).
    cfg.SOLVER.AMP.PRECISION = "float16"

    # When `DATALOADER.SAMPLER_TRAIN` takes over from the plain `TrainingSampler`: `first_lr_step` (the first step of
    # the learning rate), a fraction of the training below 1, or an iteration. None: from the beginning.
    cfg.DATALOADER.SAMPLER_START = None

    # Datasets to register, under any name: `my_train: {JSON: path, IMAGES: folder}`. Optional keys of an entry:
    # `FORMAT` (how to evaluate: `lvis` or `coco`), `ANNOTATION_FORMAT` (how to read `JSON`), and `KEYPOINT_FLIP_MAP`
    # (pairs of keypoint names that a mirrored image swaps).
    cfg.DATASETS.REGISTER = node(new_allowed=True)

    # Weights & Biases project to which the logged values are also sent (`pip install 'lt-det[wandb]'`). Empty: none.
    cfg.WANDB_PROJECT = ""

    # Bootstrap draws over the images for the report's 95 % intervals, 100 to 100 000. 0: no intervals.
    cfg.TEST.RESAMPLES = 1000

    # How many detections count in the evaluation of dense scenes. None: the protocol's limit (`lvis`: 300 per image;
    # `coco`: 100 per image and class). Numbers under different limits cannot be compared.
    cfg.TEST.MAX_DETS = None

    # True: at each evaluation in training, also compute the training losses on `DATASETS.TEST`: `val_total_loss`, ...
    cfg.TEST.VAL_LOSS = False

    # By default, the `frequency` fields of an LVIS json define the buckets; without them, the edges below do.
    cfg.TEST.BUCKETS = node()
    cfg.TEST.BUCKETS.BY = "images"  # What is counted: training `images` with the class, or `instances` of it.
    # Inclusive upper edges of all buckets but the last. Unseen classes are a bucket of their own.
    cfg.TEST.BUCKETS.EDGES = list(LVIS_EDGES)
    # Names of the buckets, one more than edges. Empty: rare, common and frequent for two edges, otherwise the ranges.
    cfg.TEST.BUCKETS.NAMES = []
    # Above 0: so many groups with the same number of classes each, instead of edges.
    cfg.TEST.BUCKETS.EQUAL_GROUPS = 0
    # Path of a json file, `{class name: bucket name}`, instead of edges and groups. Empty: none.
    cfg.TEST.BUCKETS.MAP = ""


def chosen_classifier(cfg: Any) -> str:
    """MODEL.LONG_TAIL.CLASSIFIER, or "scaled" for learnable weight scaling.

    Raises:
        LtDetError: unknown SECOND_STAGE.METHOD, or learnable weight scaling of a cosine classifier.
    """
    node = cfg.MODEL.LONG_TAIL
    if checked_decoupled_method(node.SECOND_STAGE.METHOD) != "lws":
        return str(node.CLASSIFIER)
    default = loss_class(node.LOSS.NAME).default_classifier
    if (default if node.CLASSIFIER == "auto" else node.CLASSIFIER) == "cosine":
        raise LtDetError(
            "SECOND_STAGE.METHOD lws learns the lengths of the weight vectors, which do not matter in a cosine "
            f"classifier (MODEL.LONG_TAIL.CLASSIFIER {node.CLASSIFIER}, loss {node.LOSS.NAME}); use crt, or set "
            "CLASSIFIER to linear if the trained detector has a linear one."
        )
    return "scaled"


def checked_decoupled_method(method: str) -> str:
    """`method`, if it is a method of decoupled training or empty.

    Raises:
        LtDetError: there is no such method.
    """
    if method not in ("", "crt", "lws", "meta"):
        raise LtDetError(
            f"MODEL.LONG_TAIL.SECOND_STAGE.METHOD (LazyConfig: train.second_stage) is '{method}'; write crt "
            "(classifier re-training), lws (learnable weight scaling) or meta (meta-learned weights), or leave it "
            "empty."
        )
    return method


def checked_meta_method(cfg: Any) -> str:
    """SECOND_STAGE.META.METHOD.

    Raises:
        LtDetError: there is no such method, or SECOND_STAGE.META has keys that do nothing, because METHOD is not meta.
    """
    node = cfg.MODEL.LONG_TAIL.SECOND_STAGE
    name: str = checked_meta_name(node.META.METHOD)
    if node.METHOD != "meta" and (name != META_DEFAULT or node.META.DATASETS):
        raise LtDetError(
            f"MODEL.LONG_TAIL.SECOND_STAGE.META is set, but SECOND_STAGE.METHOD is '{node.METHOD}', which ignores it; "
            "set METHOD to meta, or leave META out."
        )
    return name


def reweighting_without_start(node: Mapping[str, Any]) -> str:
    """The sentence for options of re-weighting that have no effect, because START is None; empty for all others.

    Args:
        node: MODEL.LONG_TAIL.REWEIGHTING, or its keys from a LazyConfig.

    Raises:
        LtDetError: WEIGHTS or POWER is chosen. BETA and MEAN_OVER alone are no error, because configs from before
            there was such a check may have them.
    """
    chosen = [key for key, default in REWEIGHTING_DEFAULTS.items() if node[key] != default]
    if node["START"] is not None or not chosen:
        return ""
    sentence = (
        f"MODEL.LONG_TAIL.REWEIGHTING has {' and '.join(f'{key} {node[key]}' for key in chosen)}, but its START is "
        "None, which switches it off; set START to 0 for weights from the beginning, or to first_lr_step (LazyConfig: "
        "reweighting_start, a fraction of the training)."
    )
    if "WEIGHTS" in chosen or "POWER" in chosen:
        raise LtDetError(sentence)
    return sentence


def warn_of_reweighting_without_start(node: Mapping[str, Any]) -> None:
    """Log the sentence of `reweighting_without_start`, once in a process.

    Raises:
        LtDetError: see `reweighting_without_start`.
    """
    sentence = reweighting_without_start(node)
    if sentence:
        warn_once(logger, sentence)  # every head of a cascade reads the start


def reweighting_start(cfg: Any) -> float | None:
    """Fraction of the training at which re-weighting begins, or None for never.

    Raises:
        LtDetError: REWEIGHTING.START is not a point of the training; or see `reweighting_without_start`.
    """
    node = cfg.MODEL.LONG_TAIL.REWEIGHTING
    warn_of_reweighting_without_start(node)
    return _fraction_of_training(cfg, "MODEL.LONG_TAIL.REWEIGHTING.START", node.START)


def resampling_start(cfg: Any) -> float | None:
    """Fraction of the training at which DATALOADER.SAMPLER_TRAIN takes over from the plain sampler; None: at once.

    Raises:
        LtDetError: SAMPLER_START is no point in the training, or SAMPLER_TRAIN is the plain sampler.
    """
    start = _fraction_of_training(cfg, "DATALOADER.SAMPLER_START", cfg.DATALOADER.SAMPLER_START)
    if start is not None and cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        raise LtDetError(
            "DATALOADER.SAMPLER_START defers DATALOADER.SAMPLER_TRAIN, which is the plain TrainingSampler; choose "
            "RepeatFactorTrainingSampler or ClassAwareTrainingSampler, or leave SAMPLER_START out."
        )
    return start


def _fraction_of_training(cfg: Any, key: str, start: Any) -> float | None:
    max_iter = cfg.SOLVER.MAX_ITER
    if start is None:
        return None
    if start == "first_lr_step":
        if not cfg.SOLVER.STEPS or min(cfg.SOLVER.STEPS) >= max_iter or "MultiStep" not in cfg.SOLVER.LR_SCHEDULER_NAME:
            raise LtDetError(
                f"{key} is first_lr_step, but the learning rate has no step before the end: SOLVER.LR_SCHEDULER_NAME "
                f"is {cfg.SOLVER.LR_SCHEDULER_NAME}, STEPS {tuple(cfg.SOLVER.STEPS)}, MAX_ITER {max_iter}; write a "
                "fraction of the training."
            )
        return float(min(cfg.SOLVER.STEPS) / max_iter)
    try:
        point = float(start)
    except (TypeError, ValueError):
        point = -1.0
    if not 0 <= point < max_iter:
        raise LtDetError(
            f"{key} is {start}; write first_lr_step, a fraction of the training below 1, or an iteration before "
            f"SOLVER.MAX_ITER ({max_iter})."
        )
    return point if point < 1 else point / max_iter


def check_schedule(cfg: Any) -> None:
    """
    Raises:
        LtDetError: SOLVER.STEPS that are not ascending, or one at MAX_ITER, which Detectron2 does not leave out as it
            does those beyond.
    """
    steps, max_iter = cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER
    if "MultiStep" not in cfg.SOLVER.LR_SCHEDULER_NAME:
        return
    if list(steps) != sorted(set(steps)) or max_iter in steps:
        raise LtDetError(
            f"SOLVER.STEPS is {tuple(steps)} and SOLVER.MAX_ITER {max_iter}; write ascending iterations below "
            "MAX_ITER, at which the learning rate drops, or () for none."
        )


def check_max_to_keep(number: Any, key: str) -> None:
    """
    Args:
        number: how many checkpoints to keep; None: all.
        key: its config key.

    Raises:
        LtDetError: a value that is no whole number above 0.
    """
    if number is not None and (type(number) is not int or number < 1):
        raise LtDetError(
            f"{key} is {number!r}, but is the number of checkpoints to keep; write 1 or more, or null for all."
        )


def check_training_keys(cfg: Any) -> None:
    """Check schedule, checkpoints, starts, buckets and meta-learning before the training set is counted.

    Raises:
        LtDetError: see `check_schedule`, `check_max_to_keep`, `reweighting_start`, `resampling_start`,
            `checked_meta_method`, and `buckets_of_config` as far as the class names do not matter.
    """
    check_schedule(cfg)
    check_max_to_keep(cfg.SOLVER.MAX_TO_KEEP, "SOLVER.MAX_TO_KEEP")
    reweighting_start(cfg)
    resampling_start(cfg)
    checked_meta_method(cfg)
    if cfg.TEST.BUCKETS.MAP:
        read_json(cfg.TEST.BUCKETS.MAP, "bucket map")
        return
    key, classes = num_classes_of(cfg)
    once = np.ones(classes, dtype=np.int64)
    buckets_of_config(cfg, ClassStats(tuple(map(str, range(classes))), once, once, 1, key))


def network_node(cfg: Any) -> str:
    """The node of MODEL with the network's number of classes and its minimum score."""
    return "RETINANET" if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else "ROI_HEADS"


def num_classes_of(cfg: Any) -> tuple[str, int]:
    """The key of the network's number of classes, and its value."""
    node = network_node(cfg)
    return f"MODEL.{node}.NUM_CLASSES", cfg.MODEL[node].NUM_CLASSES


def bucket_options(cfg: Any) -> BucketOptions | None:
    """The buckets that TEST.BUCKETS asks for; None for the default, see `resolve_buckets`.

    Raises:
        LtDetError: TEST.BUCKETS.BY is neither images nor instances.
    """
    node = cfg.TEST.BUCKETS
    if node.BY not in ("images", "instances"):
        raise LtDetError(f"TEST.BUCKETS.BY is '{node.BY}'; write images or instances.")
    if not (node.MAP or node.EQUAL_GROUPS or node.NAMES) and node.BY == "images" and tuple(node.EDGES) == LVIS_EDGES:
        return None
    return BucketOptions(node.BY, node.EDGES, node.NAMES or None, node.EQUAL_GROUPS or None, node.MAP or None)


def buckets_of_config(cfg: Any, stats: ClassStats) -> FrequencyBuckets:
    """The buckets that TEST.BUCKETS makes of the training set's classes.

    Raises:
        LtDetError: keys that make no buckets, or a map that cannot be read.
    """
    return resolve_buckets(bucket_options(cfg), stats)


def loss_hyperparameters(cfg: Any) -> dict[str, Any]:
    """Hyper-parameters of the chosen loss as keyword arguments for its constructor.

    Raises:
        LtDetError: MODEL.LONG_TAIL.LOSS.NAME is not a registered loss.
    """
    node = cfg.MODEL.LONG_TAIL.LOSS
    return {key: node[node.NAME.upper()][key.upper()] for key in loss_class(node.NAME).hyperparameters()}
