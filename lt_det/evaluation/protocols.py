"""The protocols: rules of the benchmarks for the detections and objects that count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["bbox", "segm"]

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


# Gupta et al. 2019, https://arxiv.org/abs/1908.03195; the lvis package.
LVIS = Protocol("lvis", federated=True, per_image=300)
# Lin et al. 2014, https://arxiv.org/abs/1405.0312; the pycocotools package.
COCO = Protocol("coco", federated=False, per_image_and_class=100)
# AP-Fixed of Dave et al. 2021, https://arxiv.org/abs/2102.01066: classes do not compete within an image.
FIXED = Protocol("fixed", federated=True, per_class=10_000)
# AP-Pool of the same paper: it also depends on whether scores are comparable across classes.
POOL = Protocol("pool", federated=True, per_class=10_000, pooled=True)

PROTOCOLS = {protocol.name: protocol for protocol in (LVIS, COCO, FIXED, POOL)}
