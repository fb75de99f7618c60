"""The protocols: rules of the benchmarks for the detections and objects that count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError

Task = Literal["bbox", "segm"]
AreaFrom = Literal["mask", "box"]  # what the area of a detection with a mask is measured on

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)

# Areas in square pixels of all, small, medium and large objects; both ends are inclusive.
AREA_RANGES = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]], dtype=np.float64)


def out_of_range(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, A) whether each of (N,) areas, in square pixels, is outside each of the A ranges."""
    return (areas[:, None] < AREA_RANGES[:, 0]) | (areas[:, None] > AREA_RANGES[:, 1])


@dataclass(frozen=True)
class Protocol:
    """The rules of a benchmark.

    Attributes:
        name: name in reports and options.
        federated: True for LVIS: a class is evaluated in an image only if the annotation says that it is present or
            absent, and an unmatched detection is ignored if its class is not annotated exhaustively in the image. Crowd
            regions are ordinary objects. False for COCO: every class is evaluated in every image, and crowd regions are
            ignored.
        per_image: number of highest-scoring detections that count per image, over all classes; None for all.
        per_image_and_class: number of highest-scoring detections that count per image and class; None for all.
        per_class: number of highest-scoring detections that count per class in the whole set; None for all.
        pooled: whether all classes of a bucket share one precision-recall curve.
    """

    name: str
    federated: bool
    per_image: int | None = None
    per_image_and_class: int | None = None
    per_class: int | None = None
    pooled: bool = False

    @property
    def max_dets(self) -> int | None:
        """The limit on the detections that count; None for all."""
        limits = (self.per_image, self.per_image_and_class, self.per_class)
        return next((limit for limit in limits if limit is not None), None)

    @property
    def limited(self) -> str:
        """What `max_dets` limits, in words."""
        if self.per_image is not None:
            return "detections per image"
        return "detections per image and class" if self.per_image_and_class is not None else "detections per class"

    @property
    def is_changed(self) -> bool:
        """Whether its limit is not the benchmark's own."""
        return self.max_dets != PROTOCOLS.get(self.name, self).max_dets

    @property
    def rules(self) -> str:
        """Its name, for headings; or how it departs from the benchmark's own rules."""
        if not self.is_changed:
            return f"{self.name} protocol"
        own = PROTOCOLS[self.name].max_dets
        return f"off the {self.name} protocol: {self.max_dets} instead of {own} {self.limited}"

    def with_max_dets(self, max_dets: int | None) -> Protocol:
        """The protocol with another limit on the detections that count, for dense scenes.

        Args:
            max_dets: replaces the limit per image, per image and class, or per class, whichever the protocol has; None
                for its own.
        """
        if max_dets is None:
            return self
        if self.per_image is not None:
            return replace(self, per_image=max_dets)
        if self.per_image_and_class is not None:
            return replace(self, per_image_and_class=max_dets)
        return replace(self, per_class=max_dets)


# Gupta et al. 2019, https://arxiv.org/abs/1908.03195; the lvis package.
LVIS = Protocol("lvis", federated=True, per_image=300)
# Lin et al. 2014, https://arxiv.org/abs/1405.0312; the pycocotools package.
COCO = Protocol("coco", federated=False, per_image_and_class=100)
# AP-Fixed of Dave et al. 2021, https://arxiv.org/abs/2102.01066: classes do not compete within an image.
FIXED = Protocol("fixed", federated=True, per_class=10_000)
# AP-Pool of the same paper: it also depends on whether scores are comparable across classes.
POOL = Protocol("pool", federated=True, per_class=10_000, pooled=True)

_MAX_RANK = (1 << 31) - 1  # ranks have 32 bits

PROTOCOLS = {protocol.name: protocol for protocol in (LVIS, COCO, FIXED, POOL)}


def check_max_dets(max_dets: object, key: str) -> None:
    """Raise LtDetError unless `max_dets` is None or a whole number above 0.

    Args:
        max_dets: how many detections count, see `Protocol.with_max_dets`.
        key: the option or config key that it comes from, for the message.
    """
    if max_dets is not None and not (type(max_dets) is int and 0 < max_dets <= _MAX_RANK):
        raise LtDetError(f"{key} is {max_dets!r}; write how many detections count, such as 1000, or leave it out.")
