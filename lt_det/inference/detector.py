"""A trained detector as a function of one image, and the names and buckets of its classes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.modeling import build_model
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lt_det.config import buckets_of_config, network_node, num_classes_of
from lt_det.data.class_counts import CACHE_NAME, training_stats
from lt_det.data.class_names import dataset_class_names
from lt_det.errors import LtDetError
from lt_det.reporting.visualizer import Detections
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.config_files.run_config import NAME as CONFIG_OF_RUN
from lt_det.training.config_loading import load_config
from lt_det.training.detectron2_keys.checks import predicts_no_classes
from lt_det.training.detectron2_keys.test_time_augmentation import warn_of_plain_predictions
from lt_det.training.preflight import check_device
from lt_det.training.resume.checkpoint_folder import last_checkpoint_in

logger = logging.getLogger(__name__)

# The keys of the minimum score, of R-CNNs and of RetinaNet.
SCORE_KEYS = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "MODEL.RETINANET.SCORE_THRESH_TEST")

WEIGHTS_HELP = "default: the last checkpoint beside a run's config.yaml, otherwise model_final.pth in OUTPUT_DIR"


def load_trained_config(
    config_file: str,
    weights: str | None = None,
    opts: list[str] | None = None,
    threshold: float | None = None,
    allow_unsafe: bool = False,
) -> CfgNode:
    """The config of a finished training, to predict with its model.

    Class counts come from the file that training writes beside the weights (``class_stats.json``), unless it is missing
    or MODEL.LONG_TAIL.CLASS_STATS names another.

    Args:
        config_file, opts: see `load_config`.
        weights: a checkpoint; None: MODEL.WEIGHTS if `opts` sets it, else the last checkpoint beside the
            ``config.yaml`` of a run, or ``model_final.pth`` in OUTPUT_DIR.
        threshold: minimum score of a detection; None: the config's.
        allow_unsafe: see `load_config`.

    Raises:
        LtDetError: as `load_config`; also if weights or device do not exist, or the threshold is not in [0, 1).
    """
    opts = opts or []
    scores = [("--threshold", threshold, key) for key in SCORE_KEYS]
    for option, value, key in (("--weights", weights, "MODEL.WEIGHTS"), *scores):
        if value is not None and key in opts[::2]:
            raise LtDetError(f"{option} {value} and the override {key} say the same thing; give one of them.")
    cfg = load_config(config_file, opts, allow_unsafe)
    check_device(cfg.MODEL.DEVICE)
    _check_network(cfg)
    warn_of_plain_predictions(cfg)
    if weights is not None or "MODEL.WEIGHTS" not in opts[::2]:
        cfg.MODEL.WEIGHTS = weights or str(_weights_of_run(config_file, cfg.OUTPUT_DIR, "OUTPUT_DIR" in opts[::2]))
    if "://" not in cfg.MODEL.WEIGHTS and not Path(cfg.MODEL.WEIGHTS).exists():
        raise LtDetError(
            f"The weights {cfg.MODEL.WEIGHTS} do not exist; give the checkpoint of a finished training with --weights."
        )
    if threshold is not None:
        if not 0 <= threshold < 1:
            raise LtDetError(f"--threshold is {threshold}; give a score of at least 0 and below 1.")
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = cfg.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
    counts = Path(cfg.MODEL.WEIGHTS).with_name(CACHE_NAME)
    if not cfg.MODEL.LONG_TAIL.CLASS_STATS and counts.is_file():
        cfg.MODEL.LONG_TAIL.CLASS_STATS = str(counts)
    return cfg


def _weights_of_run(config_file: str, output_dir: str, is_given: bool) -> Path:
    """The weights that a config was written beside: a run may lie elsewhere than the OUTPUT_DIR it was trained in.

    Args:
        is_given: whether an override names OUTPUT_DIR, which is then right.
    """
    beside = None
    if Path(config_file).name == CONFIG_OF_RUN and not is_given:
        beside = last_checkpoint_in(Path(config_file).parent)
    return beside or Path(output_dir, "model_final.pth")


def threshold_of(cfg: CfgNode) -> float:
    """The minimum score of a detection."""
    return float(cfg.MODEL[network_node(cfg)].SCORE_THRESH_TEST)


def _check_network(cfg: CfgNode) -> None:
    """Raise if the network does not predict boxes of classes from an image alone; warn of predictions left out."""
    if predicts_no_classes(cfg):
        raise LtDetError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} predicts no boxes of classes; give the config of a "
            "detector."
        )
    if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":  # others make them, even with LOAD_PROPOSALS
        raise LtDetError(
            "MODEL.PROPOSAL_GENERATOR.NAME is PrecomputedProposals, and proposals from a file exist only for the "
            "images of a dataset; give the config of a detector that makes its own."
        )
    if cfg.MODEL.KEYPOINT_ON:
        logger.warning("MODEL.KEYPOINT_ON is True, but keypoints are left out here: only boxes and masks are returned.")


def classes_of(cfg: CfgNode) -> tuple[tuple[str, ...], FrequencyBuckets | None]:
    """Names and frequency buckets of the K classes.

    Without the counts of the training set there are no buckets, and a warning says why; the names are then those of
    a dataset in the config, or numbers.

    Raises:
        LtDetError: TEST.BUCKETS is invalid.
    """
    key, num_classes = num_classes_of(cfg)
    try:
        stats = training_stats(cfg.DATASETS.TRAIN, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS)
        stats.check_num_classes(num_classes, key)
    except LtDetError as error:
        logger.warning("Frequency buckets are unknown, so all classes look alike: %s", error)
    else:
        return stats.names, buckets_of_config(cfg, stats)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        names = dataset_class_names(name)
        if len(names) == num_classes:
            return names, None
    return tuple(str(k) for k in range(num_classes)), None


class TooNarrow(LtDetError):
    """An image that cannot be resized; the message is the rest of a sentence that begins with its name."""


class TrainedDetector:
    """A model with its weights, and the steps of Detectron2's `DefaultPredictor` around it."""

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: names the model and its MODEL.WEIGHTS.

        Raises:
            LtDetError: the weights do not exist, are corrupt, or belong to another model.
        """
        self.model = build_model(cfg).eval()
        evaluation_checkpointer(self.model, "", cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD).load(cfg.MODEL.WEIGHTS)
        size = cfg.INPUT.MIN_SIZE_TEST
        self._resize = T.ResizeShortestEdge([size, size], cfg.INPUT.MAX_SIZE_TEST)
        self._format = cfg.INPUT.FORMAT

    def model_input(self, image: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) RGB to the model's (C, H', W') float32, in INPUT.FORMAT and resized as at test time.

        Raises:
            TooNarrow: nothing would be left of the shorter side.
        """
        converted = convert_PIL_to_numpy(Image.fromarray(image), self._format)
        resize = self._resize.get_transform(converted)
        if isinstance(resize, T.ResizeTransform) and not (resize.new_h and resize.new_w):
            height, width = image.shape[:2]
            raise TooNarrow(
                f"has {width} x {height} pixels, of which INPUT.MAX_SIZE_TEST {self._resize.max_size} leaves no "
                "pixel of the shorter side; cut it into parts"
            )
        resized = resize.apply_image(converted)
        return torch.as_tensor(np.ascontiguousarray(resized.astype("float32").transpose(2, 0, 1)))

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Detections in a (H, W, 3) RGB image."""
        height, width = image.shape[:2]
        inputs: dict[str, Any] = {"image": self.model_input(image), "height": height, "width": width}
        instances = self.model([inputs])[0]["instances"].to("cpu")
        instances = instances[instances.scores.argsort(descending=True, stable=True)]
        return Detections(
            boxes=instances.pred_boxes.tensor.numpy(),
            scores=instances.scores.numpy(),
            classes=instances.pred_classes.numpy(),
            masks=instances.pred_masks.numpy() if instances.has("pred_masks") else None,
        )
