#!/usr/bin/env python
"""A long-tail loss in a plain PyTorch classifier, which has no background class.

    python examples/classifier.py                   # softmax equalization loss
    python examples/classifier.py --loss LDAMLoss   # with deferred re-weighting

The data are synthetic Gaussian blobs. The training set has 500 samples of the first class, down to 5 of the last.
"""

import argparse

import torch
from torch import nn

import lt_det.losses
from lt_det.layers import build_classifier
from lt_det.losses import ClassReweighting, effective_number_weights

NUM_CLASSES, DIMENSIONS = 10, 16
COUNTS = torch.logspace(2.7, 0.7, NUM_CLASSES).long()
GROUPS = {"head": slice(0, 3), "middle": slice(3, 7), "tail": slice(7, 10)}


def blobs(counts: torch.Tensor, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) features and (N,) labels, with `counts[k]` samples of class k."""
    labels = torch.repeat_interleave(torch.arange(NUM_CLASSES), counts)
    return centers[labels] + torch.randn(len(labels), DIMENSIONS), labels


def build_loss(name: str) -> nn.Module:
    """The class `name` of lt_det.losses, with K columns and the class counts of the training set."""
    loss_class = getattr(lt_det.losses, name)
    given = {"instance_counts": COUNTS, "image_counts": COUNTS, "num_images": int(COUNTS.sum())}
    statistics = {key: given[key] for key in loss_class.statistics}
    loss = loss_class(NUM_CLASSES, background=False, **statistics)
    if name == "LDAMLoss":  # the paper's schedule: re-weighting in the last fifth of the training
        loss = ClassReweighting(loss, effective_number_weights(COUNTS, beta=0.999), start=0.8)
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--loss", default="SoftmaxEQLLoss", help="name of a class in lt_det.losses")
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()

    torch.manual_seed(0)
    centers = torch.randn(NUM_CLASSES, DIMENSIONS)
    features, labels = blobs(COUNTS, centers)
    test_features, test_labels = blobs(torch.full((NUM_CLASSES,), 200), centers)

    loss = build_loss(args.loss)
    body = nn.Sequential(nn.Linear(DIMENSIONS, 64), nn.ReLU())
    classifier = build_classifier(64, loss)

    optimizer = torch.optim.Adam([*body.parameters(), *classifier.parameters()], lr=3e-3)
    for epoch in range(args.epochs):
        loss.progress = epoch / args.epochs  # for IBLoss and deferred re-weighting
        for batch in torch.randperm(len(labels)).split(64):
            hidden = body(features[batch])
            value = loss(classifier(hidden), labels[batch], hidden)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

    with torch.no_grad():
        predicted = loss.scores(classifier(body(test_features))).argmax(dim=1)
    correct = (predicted == test_labels).float().view(NUM_CLASSES, -1).mean(dim=1)
    print(f"{args.loss}: final loss {value.item():.3f}")
    for group, classes in GROUPS.items():
        print(f"accuracy on {group} classes: {correct[classes].mean():.3f}")


if __name__ == "__main__":
    main()
