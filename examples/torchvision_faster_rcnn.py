#!/usr/bin/env python
"""A long-tail loss in torchvision's Faster R-CNN, whose background is class 0.

    python examples/torchvision_faster_rcnn.py --loss seesaw --steps 20

Trains on random squares of five colors, and prints the losses and the detections of one image.
"""

import argparse

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import batched_nms, clip_boxes_to_image

from lt_det.layers import build_classifier
from lt_det.losses import LOSSES, BackgroundFirst

COLORS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])
COUNTS = [500, 200, 50, 10, 2]  # instances per class, made up; a real project counts its training set
NUM_CLASSES = len(COLORS)


class LongTailRoIHeads(RoIHeads):
    """torchvision's box head with the loss, and the scores, of an lt_det loss."""

    def use(self, loss: BackgroundFirst) -> None:
        """Replace the classifier with the one that the loss needs."""
        self.loss = loss
        self.box_predictor.cls_score = build_classifier(self.box_predictor.cls_score.in_features, loss)

    def forward(self, features, proposals, image_shapes, targets=None):
        if self.training:
            proposals, _, labels, regression_targets = self.select_training_samples(proposals, targets)
        hidden = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, deltas = self.box_predictor(hidden)
        if self.training:
            _, box_loss = fastrcnn_loss(logits, deltas, labels, regression_targets)
            return [], {"loss_classifier": self.loss(logits, torch.cat(labels), hidden), "loss_box_reg": box_loss}
        return self.detections(logits, deltas, proposals, image_shapes), {}

    def detections(self, logits: Tensor, deltas: Tensor, proposals: list[Tensor], image_shapes) -> list[dict]:
        """torchvision's postprocessing, with `loss.scores` in place of softmax."""
        sizes = [len(boxes) for boxes in proposals]
        scores = self.loss.scores(logits).split(sizes)
        boxes = self.box_coder.decode(deltas, proposals).split(sizes)
        results = []
        for image_scores, image_boxes, shape in zip(scores, boxes, image_shapes, strict=True):
            kept = image_scores[:, 1:] > self.score_thresh  # column 0 is background
            row, label = kept.nonzero(as_tuple=True)
            found_boxes = clip_boxes_to_image(image_boxes[row, label + 1], shape)
            found_scores = image_scores[row, label + 1]
            best = batched_nms(found_boxes, found_scores, label, self.nms_thresh)[: self.detections_per_img]
            results.append({"boxes": found_boxes[best], "labels": label[best] + 1, "scores": found_scores[best]})
        return results


def build_model(name: str) -> FasterRCNN:
    """A small Faster R-CNN that is trained with the loss registered as `name`."""
    layers = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
    backbone = nn.Sequential(*layers)
    backbone.out_channels = 32
    model = FasterRCNN(
        backbone,
        num_classes=NUM_CLASSES + 1,
        min_size=128,
        max_size=128,
        rpn_anchor_generator=AnchorGenerator(((32,),), ((1.0,),)),
        box_roi_pool=torchvision.ops.MultiScaleRoIAlign(["0"], 5, 2),
        box_score_thresh=1e-4,
    )
    given = {"instance_counts": COUNTS, "image_counts": COUNTS, "num_images": 500}
    statistics = {key: given[key] for key in LOSSES[name].statistics}
    model.roi_heads.__class__ = LongTailRoIHeads
    model.roi_heads.use(BackgroundFirst(LOSSES[name](NUM_CLASSES, **statistics)))
    return model


def image_with_squares(number: int = 3) -> tuple[Tensor, dict]:
    """A (3, 128, 128) image, and its boxes and labels as torchvision expects them: 1..K."""
    image = torch.full((3, 128, 128), 0.5)
    corner = torch.randint(0, 96, (number, 2))
    labels = torch.randint(0, NUM_CLASSES, (number,))
    for (x, y), label in zip(corner.tolist(), labels, strict=True):
        image[:, y : y + 32, x : x + 32] = COLORS[label][:, None, None]
    return image, {"boxes": torch.cat([corner, corner + 32], dim=1).float(), "labels": labels + 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--loss", default="eql", choices=sorted(LOSSES))
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    torch.manual_seed(0)
    model = build_model(args.loss).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(args.steps):
        model.roi_heads.loss.progress = step / args.steps  # for IBLoss
        images, targets = zip(*(image_with_squares() for _ in range(2)), strict=True)
        losses = model(list(images), list(targets))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 0 or step == args.steps - 1:
            print(f"step {step}: " + ", ".join(f"{name} {value.item():.3f}" for name, value in losses.items()))
    with torch.no_grad():
        (found,) = model.eval()([image_with_squares()[0]])
    print(f"{len(found['labels'])} detections, labels {sorted(set(found['labels'].tolist()))}")


if __name__ == "__main__":
    main()
