"""The box head at 1203 and 13,204 classes against Detectron2's: a training step with every loss, and detections.

Training: 8 images of 512 RoIs, forward, losses and backward, with class-agnostic boxes. Detections: one image of 1000
proposals, of which every class is above the threshold.
"""

from __future__ import annotations

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference

from benchmarks.gpu import measure
from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from benchmarks.scale.detections import OPTIONS, SIZE, boxes
from benchmarks.scale.sizes import FEATURES, ROIS, long_tail
from benchmarks.scale.training import TRANSFORM, proposals, step_of
from lt_det.losses import LOSSES, build_loss
from lt_det.modeling import LongTailPredictor
from lt_det.modeling.detections import select_detections

STOCK = "Detectron2, softmax"


def training(num_classes: int, num_images: int) -> None:
    torch.manual_seed(0)
    shape = ShapeSpec(channels=FEATURES)
    features = torch.rand(ROIS * num_images, FEATURES, device=device())
    data = [one.to(device()) for _ in range(num_images) for one in proposals(num_classes)]
    reference: tuple[float, int | None] | None = None
    for name in (STOCK, f"{STOCK}, a box for each class", *sorted(LOSSES)):
        if name.startswith(STOCK):
            predictor = FastRCNNOutputLayers(
                shape, box2box_transform=TRANSFORM, num_classes=num_classes, cls_agnostic_bbox_reg=name == STOCK
            )
        else:
            loss = build_loss(name, long_tail(num_classes), **({"alpha": 1.0} if name == "ib" else {}))
            predictor = LongTailPredictor(
                shape, loss=loss, max_iter=1, box2box_transform=TRANSFORM, cls_agnostic_bbox_reg=True
            )
        step = step_of(predictor.to(device()), features, data)
        step()  # warm up
        seconds = min(measure.seconds(step, device()) for _ in range(1 if is_small() else 10))
        peak = measure.peak_bytes(step, device())
        reference = reference or (seconds, peak)
        write_figures(
            "classes",
            f"{name}, {num_classes} classes",
            milliseconds=1000 * seconds,
            time_ratio=seconds / reference[0],
            peak_megabytes=None if peak is None else peak / 1e6,
            memory_ratio=measure.ratio(peak, reference[1]),
            host_synchronizations=measure.host_synchronizations(step, device()),
        )


def detections(num_classes: int, num_proposals: int) -> None:
    torch.manual_seed(0)
    found = boxes(num_proposals).to(device())
    scores = (torch.randn(num_proposals, num_classes + 1, device=device()) - 5).sigmoid().clamp(min=2e-4)
    kept = {}
    for name, select in (("lt_det", select_detections), ("Detectron2", fast_rcnn_inference)):

        def step(select: object = select, name: str = name) -> None:
            (kept[name],), _ = select([found], [scores], [SIZE], *OPTIONS)  # type: ignore[operator]

        select([found[:2]], [scores[:2]], [SIZE], *OPTIONS)  # warm up; all of it would take Detectron2 too long
        seconds = measure.seconds(step, device())
        peak = measure.peak_bytes(step, device()) if name == "lt_det" else None
        write_figures(
            "classes",
            f"{name}, detections, {num_classes} classes",
            milliseconds=1000 * seconds,
            peak_megabytes=None if peak is None else peak / 1e6,
        )
    difference = float((kept["lt_det"].scores - kept["Detectron2"].scores).abs().max())
    write_figures("classes", f"scores of both, {num_classes} classes", largest_difference=difference)
    require(difference < 1e-5, f"the detections of lt_det and Detectron2 have scores that differ by {difference:.2g}")


def main() -> None:
    for num_classes in (30, 60) if is_small() else (1203, 13_204):
        training(num_classes, 1 if is_small() else 8)
        detections(num_classes, 100 if is_small() else 1000)


if __name__ == "__main__":
    main()
