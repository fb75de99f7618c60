#!/usr/bin/env python
"""Time of a whole training step of Mask R-CNN R50-FPN with 1203 classes: every loss against Detectron2's box predictor.

One network is used with each box predictor in turn, so that noise of the machine affects all of them.

python benchmarks/training_step.py                          # two images of 320 x 320 on the CPU, one thread
python benchmarks/training_step.py --device cuda --size 800 --images 16
"""

import argparse
import statistics
import time

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from rich.console import Console
from rich.table import Table

from lt_det.losses import LOSSES, build_loss
from lt_det.modeling import LongTailPredictor
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import load_config


def batch(num_images, size, num_classes):
    """Images of random pixels with ten objects each."""
    generator = torch.Generator().manual_seed(0)
    records = []
    for _ in range(num_images):
        corner = torch.rand(10, 2, generator=generator) * size * 0.6
        extent = (0.1 + 0.3 * torch.rand(10, 2, generator=generator)) * size
        instances = Instances((size, size))
        instances.gt_boxes = Boxes(torch.cat([corner, corner + extent], dim=1))
        instances.gt_classes = torch.randint(0, num_classes, (10,), generator=generator)
        instances.gt_masks = BitMasks(torch.ones(10, size, size, dtype=torch.bool))
        image = torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)
        records.append({"image": image, "instances": instances, "height": size, "width": size})
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    cfg = load_config("configs/lvis_softmax.yaml")
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE, cfg.MODEL.ROI_HEADS.NAME = "", args.device, "StandardROIHeads"
    cfg.MODEL.RESNETS.NORM = "BN"  # FrozenBatchNorm diverges from random weights
    model = build_model(cfg)
    num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    counts = np.geomspace(1, 50_000, num_classes).astype(np.int64)
    stats = ClassStats(tuple(map(str, range(num_classes))), counts, counts, 100_000, "benchmark")

    stock = model.roi_heads.box_predictor
    shape = model.roi_heads.box_head.output_shape
    predictors = {"Detectron2's FastRCNNOutputLayers": stock}
    for name in LOSSES:
        options = {"alpha": 1.0} if name == "ib" else {}
        loss = build_loss(name, stats, **options)
        predictors[name] = LongTailPredictor(
            shape, loss=loss, max_iter=1, box2box_transform=stock.box2box_transform, test_score_thresh=0.05
        ).to(args.device)
    data = batch(args.images, args.size, num_classes)

    def step(predictor):
        model.roi_heads.box_predictor = predictor
        model.zero_grad()
        with EventStorage(1):  # iteration max_iter: the last phase, for a loss that has several
            sum(model(data).values()).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    # The work of an optimizer step, but the network stays the same.
                    parameter.sub_(parameter.grad, alpha=1e-9)
        if args.device == "cuda":
            torch.cuda.synchronize()

    seconds = {name: [] for name in predictors}
    for round_number in range(args.rounds + 1):
        for name, predictor in predictors.items():
            torch.manual_seed(round_number)  # the same proposals are sampled for all
            start = time.perf_counter()
            step(predictor)
            if round_number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)

    first = seconds["Detectron2's FastRCNNOutputLayers"]
    table = Table(title=f"{args.images} images of {args.size} x {args.size}, {num_classes} classes, {args.device}")
    for column in ("box predictor", "ms", "/ stock, median of the rounds", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "box predictor" else "right")
    for name, values in seconds.items():
        ratios = [value / reference for value, reference in zip(values, first, strict=True)]
        columns = (statistics.median(ratios), min(ratios), max(ratios))
        table.add_row(name, f"{1000 * statistics.median(values):.0f}", *(f"{ratio:.3f}" for ratio in columns))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
