#!/usr/bin/env python
"""Time and memory inside Detectron2: from `Instances` to the results, against its LVISEvaluator.

python benchmarks/evaluator.py                  # 2000 images of 300 detections, 1203 classes
python benchmarks/evaluator.py --images 500 1000 2000
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from evaluation import class_counts, generate, measured, peak_megabytes
from rich.console import Console
from rich.table import Table

from lt_det.io.options import Collected


def instances(detections, num_images):
    """What a model returns for each image."""
    from detectron2.structures import Boxes, Instances

    bounds = np.searchsorted(detections.images, np.arange(num_images + 1))
    for image in range(num_images):
        of_image = slice(bounds[image], bounds[image + 1])
        found = Instances((480, 640))
        boxes = detections.boxes[of_image].copy()
        boxes[:, 2:] += boxes[:, :2]
        found.pred_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
        found.scores = torch.as_tensor(detections.scores[of_image], dtype=torch.float32)
        found.pred_classes = torch.as_tensor(detections.classes[of_image])
        yield {"image_id": image + 1}, {"instances": found}


def evaluate(name, counts, num_images):
    """CPU seconds, memory before and at the peak in MB (both include torch and the data), and AP."""
    from detectron2.data import MetadataCatalog
    from detectron2.evaluation import LVISEvaluator

    from lt_det.data import register_dataset
    from lt_det.evaluation.evaluator import LongTailEvaluator

    data, detections = generate(counts, num_images)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "truth.json"
        file.write_text(json.dumps(data))
        register_dataset("benchmark", file, folder)
        metadata = MetadataCatalog.get("benchmark")
        metadata.set(thing_dataset_id_to_contiguous_id={k + 1: k for k in range(len(counts))})
        del data
        before = peak_megabytes()
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            if name == "ours":
                evaluator = LongTailEvaluator("benchmark", distributed=False)
            else:
                np.float = float  # lvis 0.5.3 uses it, NumPy removed it
                evaluator = LVISEvaluator("benchmark", tasks=("bbox",), distributed=False, output_dir=folder)
                evaluator.reset()
            for image, output in instances(detections, num_images):
                evaluator.process([image], [output])
            results = evaluator.evaluate()
        return time.process_time() - start, before, peak_megabytes(), float(results["bbox"]["AP"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", action=Collected, default=[2000])
    args = parser.parse_args()

    counts = measured(class_counts)
    table = Table(title="LVIS bbox inside Detectron2, 1203 classes, 300 detections an image, CPU seconds on one core")
    for column in (
        "",
        "images",
        "seconds",
        "MB before",
        "MB at the peak",
        "its seconds / lt_det",
        "its memory / lt_det",
        "AP",
    ):
        table.add_column(column, justify="left" if not column else "right")
    for num_images in args.images:
        ours = measured(evaluate, "ours", counts, num_images)
        theirs = measured(evaluate, "LVISEvaluator", counts, num_images)
        for name, (seconds, before, peak, ap) in (("ours", ours), ("LVISEvaluator", theirs)):
            ratios = ["", ""]
            if name == "LVISEvaluator":
                memory = (peak - before) / max(ours[2] - ours[1], 1)
                ratios = [f"{seconds / ours[0]:.1f}", f"{memory:.1f}"]
            table.add_row(name, str(num_images), f"{seconds:.1f}", f"{before:.0f}", f"{peak:.0f}", *ratios, repr(ap))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
