"""A small dataset with LVIS v1's classes and the size of its training images, made without LVIS's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data.datasets.lvis_v1_categories import LVIS_CATEGORIES
from detectron2.data.datasets.lvis_v1_category_image_count import LVIS_CATEGORY_IMAGE_COUNT
from PIL import Image

from benchmarks.gpu.machine import device, is_small
from benchmarks.gpu.training import config, loading_processes
from lt_det import ClassStats

NAME = "synthetic_lvis_train"
ANNOTATED_IMAGES = 99_388  # of LVIS v1's training set
OBJECTS = 12  # per image; LVIS v1's mean is 12.7
POINTS = 30  # of a polygon


def size() -> tuple[int, int]:
    """Height and width of the images in pixels."""
    return (64, 107) if is_small() else (800, 1333)


def write_synthetic_lvis(folder: Path, num_images: int) -> None:
    """Write images, annotations, and LVIS v1's class counts, from which the losses start.

    Classes occur in proportion to their number of images in LVIS v1. Boxes have sides of 5 to 40 % of the image's.
    """
    rng = np.random.default_rng(0)
    names = [category["name"] for category in sorted(LVIS_CATEGORIES, key=lambda category: category["id"])]
    counts = np.array([c["image_count"] for c in sorted(LVIS_CATEGORY_IMAGE_COUNT, key=lambda c: c["id"])])
    height, width = size()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in range(1, num_images + 1):
        noise = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        file_name = f"{image_id}.jpg"
        Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(folder / file_name)
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for k in rng.choice(len(names), OBJECTS, p=counts / counts.sum()).tolist():
            polygon, box = _ellipse(rng, np.array([width, height]))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": k + 1,
                    "bbox": box,
                    "area": box[2] * box[3] * np.pi / 4,
                    "iscrowd": 0,
                    "segmentation": [polygon],
                }
            )
    categories = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(content))
    ClassStats(tuple(names), counts, counts, ANNOTATED_IMAGES, "LVIS v1").save(folder / "class_stats.json")


def _ellipse(rng: np.random.Generator, extent: np.ndarray) -> tuple[list[float], list[float]]:
    """A polygon [x0, y0, ...] inside the image, and its box [x, y, width, height]."""
    half = extent * rng.uniform(0.025, 0.2, 2)
    center = half + rng.random(2) * (extent - 2 * half)
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    points = center + half * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return points.ravel().round(2).tolist(), [*(center - half).round(2).tolist(), *(2 * half).round(2).tolist()]


def lvis_config(data: Path, folder: Path, name: str, iterations: int, *overrides: Any) -> Any:
    """A config of ``configs/lvis_*.yaml`` that trains on the synthetic images at their own size from random weights.

    Args:
        data: folder that `write_synthetic_lvis` filled.
        folder: for the checkpoints.
        name: "lvis_eql", "lvis_softmax".
        iterations: of the training.
        overrides: KEY VALUE pairs that win.
    """
    height, width = size()
    base = folder / f"{name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    registered = {NAME: {"JSON": str(data / "train.json"), "IMAGES": str(data)}}
    content = {"_BASE_": f"{Path.cwd()}/configs/{name}.yaml", "DATASETS": {"REGISTER": registered}}
    base.write_text(json.dumps(content))  # json is yaml
    keys = {
        "MODEL.DEVICE": device(),
        "MODEL.WEIGHTS": "",
        "MODEL.RESNETS.NORM": "BN",  # with frozen statistics random weights diverge
        "MODEL.LONG_TAIL.CLASS_STATS": str(data / "class_stats.json"),
        "INPUT.MIN_SIZE_TRAIN": (height,),
        "INPUT.MAX_SIZE_TRAIN": width,
        "DATASETS.TRAIN": (NAME,),
        "DATASETS.TEST": (),
        "DATALOADER.NUM_WORKERS": loading_processes(),
        "SOLVER.IMS_PER_BATCH": 1 if is_small() else 8,
        "SOLVER.BASE_LR": 1e-6,  # random weights and the sums of sigmoid losses diverge at ordinary rates
        "SOLVER.MAX_ITER": iterations,
        "SOLVER.STEPS": (),
        "SOLVER.CHECKPOINT_PERIOD": 10**6,
        "TEST.EVAL_PERIOD": 0,
        "SEED": 0,
        "OUTPUT_DIR": str(folder),
    }
    if is_small():  # the mask head alone would compute 1203 classes for 128 RoIs
        keys |= {"MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8, "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50}
    return config(str(base), keys, *overrides)
