"""What distinguishes the benchmarks: which detections count, and against which ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["bbox", "segm"]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)

# Areas in square pixels that count as all, small, medium and large; both ends belong to the range.
AREA_RANGES = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]], dtype=np.float64)


def out_of_range(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) areas to (N, A): whether they lie outside each range."""
    return (areas[:, None] < AREA_RANGES[:, 0]) | (areas[:, None] > AREA_RANGES[:, 1])


@dataclass(frozen=True)
class Protocol:
    """
    Attributes:
        name: for reports.
        federated: LVIS: a class counts in an image only where the json says that it is there or is not, and where its
            annotation is not exhaustive, a detection without a match is no mistake. Crowds are objects like others.
            Otherwise COCO: every class counts everywhere, and crowds are neither right nor wrong.
        per_image: detections that count in an image, over all classes; None: all.
        per_image_and_class: detections of one class that count in an image; None: all.
        per_class: detections of one class that count in the whole set; None: all.
        pooled: all classes of a bucket share one precision-recall curve.
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
# AP-Fixed of Dave et al. 2021, https://arxiv.org/abs/2102.01066: no class can take another's places.
FIXED = Protocol("fixed", federated=True, per_class=10_000)
# AP-Pool of the same paper: whether scores of different classes can be compared.
POOL = Protocol("pool", federated=True, per_class=10_000, pooled=True)

PROTOCOLS = {protocol.name: protocol for protocol in (LVIS, COCO, FIXED, POOL)}
