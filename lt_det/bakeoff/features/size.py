"""How large a feature cache becomes, and how many RoIs have to be left out so that it fits.

What LVIS v1 needs on paper, for a Mask R-CNN with FPN (D = 1024, 512 RoIs and 1000 proposals per image):

==========================================  ===================  =============
table                                       rows                 size
==========================================  ===================  =============
training RoIs, all of one pass, float16     99,388 x 512 = 51 M  106 GB
training RoIs, MAX_ROIS, float16            5 M at most          10 GB
proposals of the validation set, float32    19,809 x 1000        81 GB
proposals of all training images            100,170 x 1000       412 GB
proposals of MAX_TRAINING_IMAGES of them    5,000 x 1000         21 GB
==========================================  ===================  =============

Five million RoIs hold all 1.27 million ground-truth boxes, at most 15 % of the other foreground and 5 % of the
background. The forward passes take most of the time: 99,388 + 19,809 + 5,000 images at 0.04 s each (a guess for one
current GPU) are 83 minutes, and 10 minutes on eight; on a CPU core, at about 6 s each, 200 hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lt_det.bakeoff.features.training_rois import Thinning
from lt_det.errors import LtDetError

_BYTES_PER_ROI = 8 + 8 + 4 + 4  # label, image, IoU, weight
_BYTES_PER_PROPOSAL = 4 * 4


@dataclass(frozen=True)
class TrainingSample:
    """What training samples: the numbers from which the size of the table of RoIs follows.

    Attributes:
        images: number of training images, in all passes together.
        ground_truth: number of ground-truth boxes, in all passes together.
        batch_size: MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE.
        positive_fraction: MODEL.ROI_HEADS.POSITIVE_FRACTION.
    """

    images: int
    ground_truth: int
    batch_size: int
    positive_fraction: float

    @property
    def foreground(self) -> int:
        """The most foreground RoIs that training samples."""
        return self.images * int(self.batch_size * self.positive_fraction)

    @property
    def background(self) -> int:
        """The number of background RoIs beside as many foreground RoIs."""
        return self.images * self.batch_size - self.foreground

    def rois(self, thinning: Thinning) -> int:
        """The most RoIs that are kept, on average over the random choice."""
        kept = thinning.foreground * self.foreground + thinning.background * self.background
        return self.ground_truth + round(kept)


def thinning_for(sample: TrainingSample, max_rois: int | None, background_fraction: float) -> Thinning:
    """What to leave out so that at most `max_rois` RoIs are kept: background first, then both alike; no ground truth.

    Args:
        sample: see there.
        max_rois: None: no limit.
        background_fraction: the fraction of the background to keep where there is no limit.

    Raises:
        LtDetError: there are as many ground-truth boxes as `max_rois`.
    """
    whole = Thinning(background=background_fraction)
    if max_rois is None or sample.rois(whole) <= max_rois:
        return whole
    rest = max_rois - sample.ground_truth
    if rest <= 0:
        raise LtDetError(
            f"max_rois is {max_rois}, but the training images have {sample.ground_truth} ground-truth boxes, which are "
            "all kept; allow more, or make fewer passes."
        )
    background = max(rest - sample.foreground, min(rest / 2, background_fraction * sample.background))
    return Thinning(min(1.0, (rest - background) / max(sample.foreground, 1)), background / max(sample.background, 1))


@dataclass(frozen=True)
class CacheSize:
    """The most that a cache can hold.

    Attributes:
        rois: rows of the table of RoIs of one stage.
        proposals: rows of one stage by dataset.
        num_bytes: of all files.
    """

    rois: int
    proposals: Mapping[str, int]
    num_bytes: int

    @classmethod
    def of(
        cls, rois: int, proposals: Mapping[str, int], *, channels: int, num_stages: int, bytes_per_feature: int
    ) -> CacheSize:
        """
        Args:
            rois, proposals: see the class.
            channels: D.
            num_stages: stages of the box head; each has rows of its own.
            bytes_per_feature: of the training features; those of proposals are float32.
        """
        of_rois = rois * (channels * bytes_per_feature + _BYTES_PER_ROI)
        of_proposals = sum(proposals.values()) * (4 * channels + _BYTES_PER_PROPOSAL)
        return cls(rois, dict(proposals), num_stages * (of_rois + of_proposals))

    def __str__(self) -> str:
        rows = [f"{self.rois:,} RoIs", *(f"{number:,} proposals of {name}" for name, number in self.proposals.items())]
        *others, last = rows
        return f"{', '.join(others)}{' and ' if others else ''}{last}: {self.num_bytes / 1e9:.2f} GB"
