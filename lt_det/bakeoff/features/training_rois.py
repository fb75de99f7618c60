"""Sample the RoIs of a training image as training does, with every ground-truth box among them, and record them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.structures import Boxes, Instances
from detectron2.structures.boxes import matched_pairwise_iou
from detectron2.utils.events import EventStorage
from numpy.typing import NDArray
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.modeling.recorder import Recorder, recording, training_mode

# Fields that the proposals of an image get on their way through the head.
_ROW = "row"
_TRUTH = "is_ground_truth"
_WEIGHTS = "weights"


@dataclass(frozen=True)
class Thinning:
    """The fraction of the sampled RoIs that is kept, at random. Each then stands for 1 / fraction RoIs.

    Attributes:
        foreground: of the foreground RoIs that are no ground-truth boxes.
        background: of the background RoIs.
    """

    foreground: float = 1.0
    background: float = 1.0


def sample_rois(
    labels: NDArray[np.int64],
    is_ground_truth: NDArray[np.bool_],
    *,
    num_classes: int,
    batch_size: int,
    positive_fraction: float,
    thinning: Thinning,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Sample RoIs of an image as Detectron2's `subsample_labels` does, and keep every ground-truth box.

    A ground-truth box has the weight of its probability to be sampled in training: 1, or less in an image with more
    foreground proposals than are sampled. So the expected sums of weights are those of training, for each class and for
    the background.

    Args:
        labels: (N,) class of each proposal 0..K-1, K for background, -1 for neither.
        is_ground_truth: (N,) whether the proposal is a ground-truth box.
        num_classes: K.
        batch_size: MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE.
        positive_fraction: MODEL.ROI_HEADS.POSITIVE_FRACTION.
        thinning: see there.
        generator: of random numbers.

    Returns:
        (R,) proposals and (R,) weights.
    """
    foreground = np.flatnonzero((labels >= 0) & (labels < num_classes))
    background = np.flatnonzero(labels == num_classes)
    number = min(len(foreground), int(batch_size * positive_fraction))
    sampled = np.sort(generator.choice(foreground, number, replace=False))
    rest = np.sort(generator.choice(background, min(len(background), batch_size - number), replace=False))
    truth = foreground[is_ground_truth[foreground]]
    others = sampled[~is_ground_truth[sampled]]
    others = others[generator.random(len(others)) < thinning.foreground]
    rest = rest[generator.random(len(rest)) < thinning.background]
    weights = np.concatenate(
        [
            np.full(len(truth), number / max(len(foreground), 1)),
            np.full(len(others), 1 / thinning.foreground),
            np.full(len(rest), 1 / thinning.background),
        ]
    )
    return np.concatenate([truth, others, rest]), weights.astype(np.float32)


class TrainingRois:
    """The function of a training image that returns its RoIs, one table for each stage of the box head."""

    def __init__(self, model: Any, thinning: Thinning, dtype: np.dtype[Any]) -> None:
        """
        Args:
            model: a GeneralizedRCNN in evaluation mode.
            thinning: see there.
            dtype: of the features, float16 or float32.
        """
        self.model = model
        self.thinning = thinning
        self.dtype = dtype

    @torch.no_grad()
    def __call__(self, record: dict[str, Any], generator: np.random.Generator) -> list[dict[str, NDArray[Any]]]:
        """
        Args:
            record: what a training mapper returns.
            generator: of random numbers, for the sampling.

        Returns:
            For each stage "features" (R, D), "labels" (R,), "ious" (R,) and "weights" (R,), see `RoiTable`.

        Raises:
            LtDetError: a feature is too large for float16.
        """
        model = self.model
        heads, proposal_generator = model.roi_heads, model.proposal_generator
        images = model.preprocess_image([record])
        found = record["instances"]
        targets = Instances(found.image_size, gt_boxes=found.gt_boxes, gt_classes=found.gt_classes).to(model.device)
        features = model.backbone(images.tensor)
        with EventStorage(), training_mode(heads, proposal_generator), recording(heads) as stages:
            if proposal_generator is None:  # proposals come with the data
                proposals = [record["proposals"].to(model.device)]
            else:
                proposals, _ = proposal_generator(images, features, [targets])
            with self._sampling(heads, generator):
                heads(images, features, proposals, [targets])
        return [self._columns(stage, weights) for stage, weights in zip(stages, _weights(stages), strict=True)]

    def _columns(self, stage: Recorder, weights: Tensor) -> dict[str, NDArray[Any]]:
        (rois,) = stage.proposals
        boxes = rois.proposal_boxes
        # An image without objects has no gt_boxes.
        truth = rois.gt_boxes if rois.has("gt_boxes") else Boxes(torch.zeros_like(boxes.tensor))
        ious = matched_pairwise_iou(boxes, truth).nan_to_num()
        features = stage.features.cpu().numpy()
        if features.size and np.abs(features).max() > np.finfo(self.dtype).max:
            raise LtDetError(
                f"Features of this detector are too large for {self.dtype} (up to {np.abs(features).max():.3g}); "
                "compute the cache with dtype float32."
            )
        return {
            "features": features.astype(self.dtype),
            "labels": rois.gt_classes.cpu().numpy().astype(np.int64),
            "ious": ious.cpu().numpy().astype(np.float32),
            "weights": weights.cpu().numpy().astype(np.float32),
        }

    @contextmanager
    def _sampling(self, heads: Any, generator: np.random.Generator) -> Iterator[None]:
        """Within, `heads` label all proposals and ground-truth boxes of an image, and `sample_rois` samples them."""
        label_and_sample = heads.label_and_sample_proposals
        settings = {"batch_size_per_image": 2**31, "positive_fraction": 1.0, "proposal_append_gt": False}
        before = {name: getattr(heads, name) for name in settings}

        def sampled(proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
            proposals = add_ground_truth_to_proposals(targets, proposals)
            for image, target in zip(proposals, targets, strict=True):
                rows = torch.arange(len(image), device=image.proposal_boxes.device)
                image.set(_TRUTH, rows >= len(image) - len(target))
                image.set(_ROW, rows)
            return [choose(image) for image in label_and_sample(proposals, targets)]

        def choose(image: Instances) -> Instances:
            image = image[image.get(_ROW).argsort()]  # Detectron2 has shuffled them with torch's random numbers
            rows, weights = sample_rois(
                image.gt_classes.cpu().numpy(),
                image.get(_TRUTH).cpu().numpy(),
                num_classes=heads.num_classes,
                batch_size=before["batch_size_per_image"],
                positive_fraction=before["positive_fraction"],
                thinning=self.thinning,
                generator=generator,
            )
            image = image[torch.as_tensor(rows, device=image.gt_classes.device)]
            image.set(_WEIGHTS, torch.as_tensor(weights, device=image.gt_classes.device))
            return image

        try:
            for name, value in settings.items():
                setattr(heads, name, value)
            heads.label_and_sample_proposals = sampled
            yield
        finally:
            del heads.label_and_sample_proposals  # the class's own appears again
            for name, value in before.items():
                setattr(heads, name, value)


def _weights(stages: list[Recorder]) -> Iterator[Tensor]:
    """The weight of each RoI, by stage.

    The RoIs of a later stage of a cascade are the refined ones of the stage before it, without those that have become
    empty inside the image.
    """
    (image,) = stages[0].proposals
    weights = image.get(_WEIGHTS)
    yield weights
    for stage in stages[:-1]:
        boxes = Boxes(stage.boxes[0].clone())
        boxes.clip(image.image_size)
        weights = weights[boxes.nonempty()]
        yield weights
