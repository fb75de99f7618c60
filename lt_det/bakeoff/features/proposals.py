"""Record what the box predictors get for an image at test time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lt_det.modeling.recorder import recording


class TestProposals:
    """The function of an image that returns the features and boxes of its proposals, for each stage of the box head."""

    __test__ = False  # no test of pytest's

    def __init__(self, model: Any) -> None:
        """
        Args:
            model: a GeneralizedRCNN in evaluation mode.
        """
        self.model = model

    @torch.no_grad()
    def __call__(self, record: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """
        Args:
            record: what a test mapper returns.

        Returns:
            The rows of one image, in the columns of a `ProposalTable`: for each stage s "features_s" (R, D) and
            "proposals_s" (R, 4); "counts" (1,) R; "network_sizes" (1, 2); "sizes" (1, 2).
        """
        model = self.model
        images = model.preprocess_image([record])
        features = model.backbone(images.tensor)
        if model.proposal_generator is None:  # proposals come with the data
            proposals = [record["proposals"].to(model.device)]
        else:
            proposals, _ = model.proposal_generator(images, features, None)
        with recording(model.roi_heads) as stages:
            model.roi_heads(images, features, proposals, None)
        (network_size,) = images.image_sizes
        size = record.get("height", network_size[0]), record.get("width", network_size[1])
        columns = {
            "counts": np.asarray([len(stages[0].features)], dtype=np.int64),
            "network_sizes": np.asarray([network_size], dtype=np.int64),
            "sizes": np.asarray([size], dtype=np.int64),
        }
        for number, stage in enumerate(stages):
            (image,) = stage.proposals
            columns[f"features_{number}"] = stage.features.cpu().numpy()
            columns[f"proposals_{number}"] = image.proposal_boxes.tensor.cpu().numpy()
        return columns
