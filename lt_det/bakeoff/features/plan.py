"""What has to be computed for a feature cache: its tables, its size, and what ``cache.json`` says."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.modeling import build_model
from numpy.typing import NDArray

from lt_det.bakeoff.cache.cache import CACHE_NAME, ROIS, VERSION
from lt_det.bakeoff.cache.writer import writing
from lt_det.bakeoff.features.filling import Table, proposal_table, roi_table
from lt_det.bakeoff.features.images import evaluation_records, training_records
from lt_det.bakeoff.features.options import FeatureOptions
from lt_det.bakeoff.features.proposals import TestProposals
from lt_det.bakeoff.features.selection import annotated_classes, choose_images, sample_images
from lt_det.bakeoff.features.size import CacheSize, TrainingSample, thinning_for
from lt_det.bakeoff.features.training_rois import TrainingRois
from lt_det.data.class_names import class_names
from lt_det.io.atomic import write_atomically
from lt_det.modeling.recorder import recording
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.preflight import prepare_device

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The work for a feature cache.

    Attributes:
        folder: of the cache.
        tables: to fill.
        about: what ``cache.json`` says of the unfinished cache.
        size: the most that the cache will hold.
        seed: of augmentation and sampling.
    """

    folder: Path
    tables: list[Table]
    about: dict[str, Any]
    size: CacheSize
    seed: int

    @classmethod
    def make(cls, cfg: Any, folder: Path, options: FeatureOptions, key: dict[str, Any]) -> Plan:
        """Load detector and records.

        Raises:
            LtDetError: the checkpoint does not fit, the box predictor is unknown, there is no such device, or max_rois
                has no room for the ground truth.
        """
        prepare_device(cfg.MODEL.DEVICE, None, cfg.DATALOADER.NUM_WORKERS)
        model = build_model(cfg).eval()
        with recording(getattr(model, "roi_heads", model)) as stages:
            num_stages, channels = len(stages), int(stages[0].bbox_pred.in_features)
        method = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
        evaluation_checkpointer(model, "", method, class_names(cfg)).load(cfg.MODEL.WEIGHTS)
        seed, datasets = key["seed"], key["datasets"]
        records = training_records(cfg)
        images, weights = _sampled(records, options.max_roi_images, seed)
        sample = TrainingSample(
            options.passes * len(images),
            options.passes * int(np.isin(annotated_classes(records)[0], images).sum()),
            model.roi_heads.batch_size_per_image,
            model.roi_heads.positive_fraction,
        )
        thinning = thinning_for(sample, options.max_rois, options.background_fraction)
        sampled = TrainingRois(model, thinning, np.dtype(options.dtype))
        tables = {ROIS: roi_table(folder, records, images, weights, sampled, options.passes, seed)}
        for name in datasets:
            records = evaluation_records(cfg, name)
            limit = options.max_training_images if name in cfg.DATASETS.TRAIN else None
            chosen = _chosen(records, limit, seed)
            tables[name] = proposal_table(folder, name, records, chosen, TestProposals(model))
        size = CacheSize.of(
            sample.rois(thinning),
            {name: _proposals_per_image(cfg) * len(tables[name].units) for name in datasets},
            channels=channels,
            num_stages=num_stages,
            bytes_per_feature=sampled.dtype.itemsize,
        )
        about = {
            "version": VERSION,
            "finished": False,
            "key": key,
            "num_classes": model.roi_heads.num_classes,
            "num_stages": num_stages,
            "images": {name: table.image_ids for name, table in tables.items()},
        }
        return cls(folder, list(tables.values()), about, size, seed)

    def missing(self) -> int:
        """The number of images, of all tables together, that are not in the cache yet."""
        return sum(table.missing() for table in self.tables)

    def begin(self) -> None:
        """Log what is left to do, after removing what a killed process has left. No other process may write yet."""
        for table in self.tables:
            table.writer.clean_up()
        self._write(self.about)
        missing, total = self.missing(), sum(len(table.units) for table in self.tables)
        logger.info("The feature cache %s holds at most %s.", self.folder, self.size)
        logger.info("%d of %d images are left to compute.", missing, total)
        free = shutil.disk_usage(self.folder).free
        if free < self.size.num_bytes * missing / max(total, 1):
            logger.warning("%s has only %.2f GB left on its disk, which may not be enough.", self.folder, free / 1e9)

    def finish(self) -> None:
        """Declare the cache finished."""
        assert all(table.writer.finished for table in self.tables)
        self._write({**self.about, "finished": True})

    def _write(self, about: dict[str, Any]) -> None:
        with writing(self.folder):
            write_atomically(self.folder / CACHE_NAME, json.dumps(about, default=_as_json))


def _as_json(value: Any) -> Any:
    """Ids of images from a user's own function may be NumPy's integers."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _chosen(records: Any, limit: int | None, seed: int) -> Sequence[int]:
    if limit is None or limit >= len(records):
        return range(len(records))
    logger.info("Proposals of %d of %d training images are recorded (max_training_images).", limit, len(records))
    return list(choose_images(*annotated_classes(records), len(records), limit, seed))


def _sampled(records: Any, limit: int | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """The training images whose RoIs are sampled, and their weights; no weights: all images."""
    if limit is None or limit >= len(records):
        return np.arange(len(records)), None
    logger.info("RoIs of %d of %d training images are sampled (max_roi_images).", limit, len(records))
    return sample_images(*annotated_classes(records), len(records), limit, seed)


def _proposals_per_image(cfg: Any) -> int:
    """The most proposals of an image at test time."""
    if cfg.MODEL.LOAD_PROPOSALS:
        return int(cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST)
    return int(cfg.MODEL.RPN.POST_NMS_TOPK_TEST)
