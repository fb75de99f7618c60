"""Data loaders and evaluator for any registered datasets."""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import DatasetMapper, build_detection_test_loader
from omegaconf import OmegaConf

from lt_det.data import load_records, training_stats_or_none
from lt_det.data.loader import build_resumable_loader
from lt_det.evaluation.evaluator import LongTailEvaluator


def loaders(train, test, augmentations, test_resize, *, masks, batch_size, workers):
    """A dataloader node as Detectron2's LazyConfig tool expects it.

    Args:
        train, test: names of registered datasets.
        augmentations: for training images.
        test_resize: resize for test images.
        masks: whether to train on masks.
        batch_size: training images per iteration, summed over all processes.
        workers: data loader workers per process.
    """
    return OmegaConf.create(
        dict(
            train=L(build_resumable_loader)(
                dataset=L(load_records)(names=train),
                mapper=L(DatasetMapper)(
                    is_train=True, augmentations=augmentations, image_format="BGR", use_instance_mask=masks
                ),
                total_batch_size=batch_size,
                num_workers=workers,
            ),
            test=L(build_detection_test_loader)(
                dataset=L(load_records)(names=test, filter_empty=False),
                mapper=L(DatasetMapper)(is_train=False, augmentations=[test_resize], image_format="BGR"),
                num_workers=workers,
            ),
            evaluator=L(LongTailEvaluator)(
                dataset_name="${..test.dataset.names}",
                stats=L(training_stats_or_none)(datasets=[train]),
                draws=1000,  # bootstrap draws for confidence intervals; 0: no intervals
            ),
        ),
        flags={"allow_objects": True},
    )


def resize(*short_edges):
    """Resize so that the shorter edge has one of these lengths, in pixels, and the longer edge at most 1333."""
    return L(T.ResizeShortestEdge)(short_edge_length=short_edges, sample_style="choice", max_size=1333)


flip = L(T.RandomFlip)(horizontal=True)
