"""The images whose features are computed, each augmented with random numbers of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper, get_detection_dataset_dicts
from torch.utils.data import DataLoader, Dataset

from lt_det.data.cache.records import load_records
from lt_det.data.image_errors import NameUnreadable
from lt_det.data.keypoints import prepare_keypoints
from lt_det.data.worker_signals import end_only_with_parent
from lt_det.errors import LtDetError

Unit = tuple[int, int]  # a pass over the images, and the index of an image


def training_records(cfg: Any) -> Any:
    """The records that training draws from, in the order of the datasets."""
    if cfg.MODEL.LOAD_PROPOSALS:
        return get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=_min_keypoints(cfg),
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN,
            check_consistency=False,
        )
    return load_records(
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=_min_keypoints(cfg),
    )


def evaluation_records(cfg: Any, name: str) -> Any:
    """The records that an evaluation of a dataset reads.

    Raises:
        LtDetError: proposals come from files, and no file is given for this dataset.
    """
    if not cfg.MODEL.LOAD_PROPOSALS:
        return load_records(name, filter_empty=False)
    names = (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN)
    files = (*cfg.DATASETS.PROPOSAL_FILES_TEST, *cfg.DATASETS.PROPOSAL_FILES_TRAIN)
    if len(files) != len(names) or name not in names:
        raise LtDetError(
            f"MODEL.LOAD_PROPOSALS is True, but there is no proposal file of '{name}'; give one for each dataset in "
            "DATASETS.PROPOSAL_FILES_TEST and PROPOSAL_FILES_TRAIN."
        )
    file = files[names.index(name)]
    return get_detection_dataset_dicts([name], filter_empty=False, proposal_files=[file], check_consistency=False)


def build_loader(cfg: Any, records: Any, units: Sequence[Unit], *, training: bool, seed: int) -> Iterator[Any]:
    """Iterate over the model's inputs for some images, in the order given.

    Args:
        cfg: of the detector.
        records: of a dataset.
        units: what to load.
        training: augment the images as in training, with random numbers that depend on seed, pass and image only.
        seed: of the augmentation.
    """
    if training:
        prepare_keypoints(cfg)
    mapper = NameUnreadable(DatasetMapper(cfg, training))
    loader: DataLoader[Any] = DataLoader(
        _Inputs(records, mapper, units, seed),
        batch_size=None,
        num_workers=min(cfg.DATALOADER.NUM_WORKERS, len(units)),
        collate_fn=_unchanged,
    )
    end_only_with_parent(loader)
    return iter(loader)


class _Inputs(Dataset[Any]):
    def __init__(self, records: Any, mapper: Callable[[Any], Any], units: Sequence[Unit], seed: int) -> None:
        self.records, self.mapper, self.units, self.seed = records, mapper, units, seed

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, number: int) -> Any:
        one_pass, image = self.units[number]
        with seeded(self.seed, one_pass, image):
            return self.mapper(self.records[image])


def _unchanged(record: Any) -> Any:
    return record


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Within, the global generators of Python, NumPy and torch start from these numbers; then they go on as before."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def _min_keypoints(cfg: Any) -> int:
    return int(cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE) if cfg.MODEL.KEYPOINT_ON else 0
