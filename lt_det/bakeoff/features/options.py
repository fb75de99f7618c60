"""What a feature cache holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lt_det.errors import LtDetError

MAX_ROIS = 5_000_000
MAX_TRAINING_IMAGES = 5_000


@dataclass(frozen=True)
class FeatureOptions:
    """What a feature cache holds. With the defaults everything is in it, except for datasets as large as LVIS.

    Attributes:
        passes: over the training images, each with an augmentation and a sampling of its own.
        dtype: of the training features, "float16" or "float32". The features of proposals are always float32.
        background_fraction: the fraction of the sampled background RoIs to keep, above 0.
        max_rois: the most RoIs to keep for a stage, on average over the random choice; None: no limit. Ground truth is
            always kept, see `thinning_for`.
        max_training_images: the most images of each training set whose proposals are recorded; None: all. See
            `choose_images`.
        max_roi_images: the most training images whose RoIs are sampled, and weighted so that they stand for all
            training images, see `sample_images`; None: all, which a bake-off needs.
        datasets: whose proposals are recorded; None: those of DATASETS.TEST and DATASETS.TRAIN.
    """

    passes: int = 1
    dtype: str = "float16"
    background_fraction: float = 1.0
    max_rois: int | None = MAX_ROIS
    max_training_images: int | None = MAX_TRAINING_IMAGES
    max_roi_images: int | None = None
    datasets: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            LtDetError: a value that makes no sense.
        """
        self._check("passes", self.passes >= 1, "a number of at least 1")
        self._check("dtype", self.dtype in ("float16", "float32"), "float16 or float32")
        self._check("background_fraction", 0 < self.background_fraction <= 1, "a number above 0 and at most 1")
        for name in ("max_rois", "max_training_images", "max_roi_images"):
            limit = getattr(self, name)
            self._check(name, limit is None or limit >= 1, "a positive number, or None for no limit")

    def _check(self, name: str, is_valid: bool, expected: str) -> None:
        if not is_valid:
            raise LtDetError(f"{name} of the feature cache is {getattr(self, name)}; give {expected}.")
