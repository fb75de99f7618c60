"""The two tables of a feature cache: sampled RoIs to train on, and proposals to evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RoiTable:
    """Sampled RoIs of the training images, as one stage of the box head sees them in training.

    Attributes:
        features: (N, D) float16 or float32, the input of the classifier.
        labels: (N,) class 0..K-1, or K for background.
        images: (N,) index into `image_ids`.
        ious: (N,) IoU with the ground-truth box that the RoI was matched to.
        weights: (N,) how many RoIs of training a row stands for: 1; more where RoIs were thinned; less for the
            ground-truth boxes of an image with more foreground proposals than training samples, because all of them
            are here.
        image_ids: ids of the training images.
        num_classes: K.
    """

    features: NDArray[np.floating[Any]]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    ious: NDArray[np.float32]
    weights: NDArray[np.float32]
    image_ids: Sequence[Any]
    num_classes: int


@dataclass(frozen=True, eq=False)
class ProposalTable:
    """What a detector gives its box predictors at test time. Image i has the rows ``start[i]:start[i + 1]``.

    Attributes:
        features: for each stage (R, D) float32, the input of the classifier and of the box regressor.
        proposals: for each stage (R, 4) float32, the boxes that its regressor refines: x1, y1, x2, y2 in pixels of the
            network's input.
        start: (I + 1,) first row of each image, and R.
        network_sizes: (I, 2) height and width of the network's input.
        sizes: (I, 2) height and width of the image, to which detections are scaled.
        image_ids: ids of the images.
    """

    features: Sequence[NDArray[np.float32]]
    proposals: Sequence[NDArray[np.float32]]
    start: NDArray[np.int64]
    network_sizes: NDArray[np.int64]
    sizes: NDArray[np.int64]
    image_ids: Sequence[Any]
