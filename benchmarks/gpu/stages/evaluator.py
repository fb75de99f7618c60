"""LongTailEvaluator with a model's outputs on the GPU: the metrics of the same outputs on the CPU, and the time.

The outputs are the objects of mini_lvis's validation set, displaced, some with a wrong class, with random scores.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_utils

from benchmarks.gpu import measure
from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from lt_det.evaluation.evaluator import LongTailEvaluator

NAME = "mini_lvis_val"


def outputs(records: list[dict[str, Any]], num_classes: int) -> list[Instances]:
    """What a model could predict for each image, on the CPU."""
    rng = np.random.default_rng(0)
    predicted = []
    for record in records:
        height, width = record["height"], record["width"]
        objects = record["annotations"]
        number = len(objects)
        x, y, w, h = np.array([annotation["bbox"] for annotation in objects], dtype=np.float64).reshape(-1, 4).T
        boxes = np.stack([x, y, x + w, y + h], axis=1) + rng.normal(0, 2, (number, 4))
        classes = np.array([annotation["category_id"] for annotation in objects], dtype=np.int64)
        wrong = rng.random(number) < 0.2
        classes[wrong] = rng.integers(0, num_classes, wrong.sum())
        masks = [
            mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(annotation["segmentation"], height, width)))
            for annotation in objects
        ]
        instances = Instances((height, width))
        instances.pred_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
        instances.pred_classes = torch.as_tensor(classes)
        instances.scores = torch.as_tensor(rng.random(number), dtype=torch.float32)
        instances.pred_masks = torch.as_tensor(np.array(masks, dtype=bool).reshape(-1, height, width))
        predicted.append(instances)
    return predicted


def evaluate(records: list[dict[str, Any]], predicted: list[Instances]) -> tuple[dict[str, dict[str, float]], float]:
    """Metrics, and seconds from the outputs to the metrics."""
    evaluator = LongTailEvaluator(NAME, distributed=False)
    evaluator.reset()
    measure.synchronize(device())
    start = time.perf_counter()
    for record, instances in zip(records, predicted, strict=True):
        evaluator.process([record], [{"instances": instances}])
    metrics = evaluator.evaluate()
    assert metrics is not None
    return metrics, time.perf_counter() - start


def main() -> None:
    records = DatasetCatalog.get(NAME)
    on_cpu = outputs(records, len(MetadataCatalog.get(NAME).thing_classes))
    on_device = [instances.to(device()) for instances in on_cpu]
    found, seconds = evaluate(records, on_device)
    expected, cpu_seconds = evaluate(records, on_cpu)
    different = [
        f"{task}/{name}"
        for task, metrics in expected.items()
        for name, value in metrics.items()
        if not np.array_equal(found[task][name], value, equal_nan=True)
    ]
    write_figures(
        "evaluator",
        f"{len(records)} images",
        bbox_ap=found["bbox"]["AP"],
        segm_ap=found["segm"]["AP"],
        metrics=sum(map(len, expected.values())),
        different_metrics=len(different),
        seconds=seconds,
        seconds_from_cpu=cpu_seconds,
    )
    require(not different, f"these metrics differ from those of the outputs on the CPU: {', '.join(different)}")
    require(is_small() or found["bbox"]["AP"] > 0, "the displaced objects have an AP of 0")


if __name__ == "__main__":
    main()
