"""Proposals at test time as samples of the classes: matched to the ground truth as the training sampler does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, BoxMode, pairwise_iou

from lt_det.bakeoff.cache.tables import ProposalTable
from lt_det.bakeoff.diagnosis.batches import Rois
from lt_det.data.cache.records import load_records
from lt_det.errors import LtDetError


def matched_proposals(proposals: ProposalTable, stage: int, dataset: str, iou_threshold: float) -> Rois:
    """The proposals that have enough overlap with an object, labeled with the class of the best one.

    Crowd regions do not count as objects. No ground-truth box is added to the proposals.

    Args:
        proposals: of the dataset.
        stage: of the box head.
        dataset: registered name, with annotations.
        iou_threshold: MODEL.ROI_HEADS.IOU_THRESHOLDS of the training sampler, or the threshold of a cascade's stage.

    Raises:
        LtDetError: an image of the proposals is not in the dataset.
    """
    records = load_records(dataset, filter_empty=False)
    positions = {records[position]["image_id"]: position for position in range(len(records))}
    rows, labels, images = [], [], []
    for index, image_id in enumerate(proposals.image_ids):
        if image_id not in positions:
            raise LtDetError(f"'{dataset}' has no image {image_id} any more; compute the features again.")
        scale = np.asarray(proposals.network_sizes[index]) / np.asarray(proposals.sizes[index])
        truth, classes = _objects(records[positions[image_id]], float(scale[1]), float(scale[0]))
        start, stop = int(proposals.start[index]), int(proposals.start[index + 1])
        if not len(classes) or start == stop:
            continue
        boxes = torch.as_tensor(np.array(proposals.proposals[stage][start:stop], dtype=np.float32))
        ious, best = pairwise_iou(Boxes(truth), Boxes(boxes)).max(dim=0)
        matched = (ious >= iou_threshold).nonzero().squeeze(1)
        rows.append(start + matched.numpy())
        labels.append(classes[best[matched].numpy()])
        images.append(np.full(len(matched), index))
    joined = [np.concatenate([np.zeros(0, dtype=np.int64), *parts]) for parts in (rows, labels, images)]
    weights = np.ones(len(joined[0]), dtype=np.float32)
    return Rois(proposals.features[stage], joined[0], joined[1], joined[2], weights)


def _objects(record: dict[str, Any], scale_x: float, scale_y: float) -> tuple[torch.Tensor, np.ndarray]:
    """(G, 4) boxes in pixels of the network's input, and (G,) classes."""
    objects = [entry for entry in record.get("annotations", ()) if not entry.get("iscrowd", 0)]
    boxes = [BoxMode.convert(entry["bbox"], entry["bbox_mode"], BoxMode.XYXY_ABS) for entry in objects]
    scaled = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * torch.tensor([scale_x, scale_y] * 2)
    return scaled, np.array([entry["category_id"] for entry in objects], dtype=np.int64)
