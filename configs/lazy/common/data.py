"""Data loaders and evaluator of any registered set."""

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
        train, test: names of registered sets.
        augmentations: of training images.
        test_resize: of test images.
        masks: whether masks are learned.
        batch_size: training images per iteration, over all processes.
        workers: loading processes per training process.
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
                draws=1000,  # of the bootstrap, for intervals; 0: none
            ),
        ),
        flags={"allow_objects": True},
    )


def resize(*short_edges):
    """Scale so that the shorter edge has one of these lengths."""
    return L(T.ResizeShortestEdge)(short_edge_length=short_edges, sample_style="choice", max_size=1333)


flip = L(T.RandomFlip)(horizontal=True)
