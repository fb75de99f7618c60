"""Cached RoIs of a detector that never was: Gaussian clusters with a long tail."""

import numpy as np
from detectron2.config import get_cfg

import lt_det
from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.statistics.class_stats import ClassStats


def synthetic_rois(counts=(400, 200, 60, 20, 8), *, dimension=16, images=120, seed=0, spread=0.6, dtype=np.float16):
    """A table in which class k has ``counts[k]`` RoIs, and background three times as many as all of them together.

    The rows of an image are neighbors, as in a cache; every third image has no objects. Background rows stand for two
    RoIs each.
    """
    generator = np.random.default_rng(seed)
    num_classes = len(counts)
    centers = generator.normal(size=(num_classes + 1, dimension))
    labels = np.repeat(np.arange(num_classes + 1), [*counts, 3 * sum(counts)])
    with_objects = np.flatnonzero(np.arange(images) % 3 < 2)
    owners = np.where(
        labels < num_classes, generator.choice(with_objects, len(labels)), generator.integers(images, size=len(labels))
    )
    order = np.argsort(owners, kind="stable")
    labels, owners = labels[order], owners[order]
    features = np.maximum(centers[labels] + spread * generator.normal(size=(len(labels), dimension)), 0)
    return RoiTable(
        features=features.astype(dtype),
        labels=labels.astype(np.int64),
        images=owners.astype(np.int64),
        ious=np.where(labels < num_classes, 0.8, 0.2).astype(np.float32),
        weights=np.where(labels < num_classes, 1, 2).astype(np.float32),
        image_ids=list(range(1000, 1000 + images)),
        num_classes=num_classes,
    )


def bakeoff_config(rois, folder, **overrides):
    """A config whose training set has the counts of a table, one instance for each RoI.

    Args:
        rois: the table.
        folder: where to write the counts.
        overrides: config keys.
    """
    foreground = rois.labels < rois.num_classes
    pairs = np.unique(np.stack([rois.images[foreground], rois.labels[foreground]]), axis=1)
    stats = ClassStats(
        names=tuple(f"class{k}" for k in range(rois.num_classes)),
        image_counts=np.bincount(pairs[1], minlength=rois.num_classes),
        instance_counts=np.bincount(rois.labels[foreground], minlength=rois.num_classes),
        num_images=len(np.unique(pairs[0])),
        source="synthetic",
    )
    stats.save(folder / "counts.json")
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_HEADS.NAME = "LongTailROIHeads"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = rois.num_classes
    cfg.MODEL.LONG_TAIL.CLASS_STATS = str(folder / "counts.json")
    cfg.OUTPUT_DIR = str(folder)
    cfg.merge_from_list([item for pair in overrides.items() for item in pair])
    return cfg
