"""Small valid files that the fuzzers mutate: annotations, results, counts, evaluations, a config, checkpoints, ..."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image

from lt_det.bakeoff.cache.cache import VERSION
from lt_det.bakeoff.cache.writer import TableWriter
from lt_det.compat.detectron2 import without_logger_setup
from lt_det.evaluation.bakeoff_schema import write_bakeoff
from lt_det.evaluation.diagnosis_schema import write_diagnosis
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import LongTailTrainer, load_config
from lt_det.training.trial import quiet
from tests.helpers.bakeoffs import bakeoff
from tests.helpers.diagnosed import diagnosis
from tests.helpers.evaluations import evaluation, write_run

NUM_IMAGES, NUM_CLASSES = 12, 4
TRIANGLE = [[2, 2, 12, 2, 12, 12]]


def annotations(lvis: bool) -> dict[str, object]:
    """Images with one to four objects, the first of each image a crowd now and then; the keys of LVIS if asked for."""
    images = [{"id": i + 1, "height": 40, "width": 60, "file_name": f"{i + 1}.png"} for i in range(NUM_IMAGES)]
    objects = []
    for image in images:
        for k in range(1 + image["id"] % NUM_CLASSES):  # type: ignore[operator]
            box = [1 + 9 * k, 2, 12, 14]
            entry = {"id": len(objects) + 1, "image_id": image["id"], "category_id": k + 1, "bbox": box, "area": 168}
            objects.append({**entry, "iscrowd": int(not lvis and k == 3), "segmentation": TRIANGLE})
    categories: list[dict[str, object]] = [{"id": k + 1, "name": f"class {k}"} for k in range(NUM_CLASSES)]
    if lvis:
        for image in images:
            image |= {"neg_category_ids": [4], "not_exhaustive_category_ids": [1]}
        for k, category in enumerate(categories):
            category |= {"frequency": "rccf"[k], "image_count": 3 * k + 1, "synonyms": [f"class_{k}"]}
    return {"images": images, "annotations": objects, "categories": categories}


def results(data: dict[str, object]) -> list[dict[str, object]]:
    """Detections near the objects, with different scores."""
    found = []
    for number, entry in enumerate(data["annotations"]):  # type: ignore[var-annotated, arg-type]
        x, y, width, height = entry["bbox"]
        box = [x + number % 3, y, width, height + number % 2]
        score = round(0.1 + 0.8 * (number * 7 % 10) / 10, 3)
        found.append({"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": box, "score": score})
    return found


def small_evaluation(seed: int = 0) -> dict[str, object]:
    """An evaluation with every part, of few classes and draws."""
    return evaluation(num_classes=6, seed=seed, draws=20)


def write_files(folder: Path) -> None:
    """Write one of each, and what the commands need beside it."""
    for name, lvis in (("coco", False), ("lvis", True)):
        data = annotations(lvis)
        (folder / f"{name}.json").write_text(json.dumps(data))
        (folder / f"{name}_results.json").write_text(json.dumps(results(data)))
    (folder / "images").mkdir()
    for number in range(NUM_IMAGES):
        Image.new("RGB", (60, 40), (10 * number, 90, 60)).save(folder / "images" / f"{number + 1}.png")
    ClassStats.from_json(folder / "coco.json").save(folder / "counts.json")
    write_run(folder / "run", small_evaluation())
    write_run(folder / "other_run", small_evaluation(seed=1))
    (folder / "config.yaml").write_text(
        f"""
VERSION: 2
DATASETS:
  REGISTER: {{fuzz_train: {{JSON: {folder}/coco.json, IMAGES: {folder}/images}}}}
  TRAIN: [fuzz_train]
  TEST: [fuzz_train]
INPUT: {{MIN_SIZE_TRAIN: [40, 48], MIN_SIZE_TEST: 48, MASK_FORMAT: polygon}}
MODEL:
  DEVICE: cpu
  WEIGHTS: ""
  META_ARCHITECTURE: GeneralizedRCNN
  MASK_ON: false
  PIXEL_MEAN: [103.5, 116.3, 123.7]
  ROI_HEADS:
    {{NAME: LongTailROIHeads, IN_FEATURES: [p2, p3, p4, p5], NUM_CLASSES: {NUM_CLASSES}, BATCH_SIZE_PER_IMAGE: 16}}
  ROI_BOX_HEAD: {{NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 8, POOLER_RESOLUTION: 7}}
  LONG_TAIL: {{LOSS: {{NAME: seesaw}}}}
  BACKBONE: {{NAME: build_resnet_fpn_backbone}}
  RESNETS: {{STEM_OUT_CHANNELS: 8, RES2_OUT_CHANNELS: 16, WIDTH_PER_GROUP: 8, OUT_FEATURES: [res2, res3, res4, res5]}}
  FPN: {{OUT_CHANNELS: 16, IN_FEATURES: [res2, res3, res4, res5]}}
  ANCHOR_GENERATOR: {{SIZES: [[32], [64], [128], [256], [512]]}}
  RPN: {{IN_FEATURES: [p2, p3, p4, p5, p6]}}
TEST: {{BUCKETS: {{EDGES: [3, 8]}}}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 10, STEPS: [6, 8], BASE_LR: 0.01}}
DATALOADER: {{NUM_WORKERS: 0, SAMPLER_TRAIN: TrainingSampler}}
OUTPUT_DIR: {folder}/output
"""
    )
    cfg = load_config(str(folder / "config.yaml"))
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict(), "iteration": 3}, folder / "checkpoint.pth")
    _write_training(folder)
    _write_feature_cache(folder / "cache")
    write_bakeoff(bakeoff(num_classes=12), folder)
    write_diagnosis(diagnosis(), folder)
    (folder / "empty").mkdir()
    DatasetCatalog.remove("fuzz_train")  # the commands register it
    MetadataCatalog.remove("fuzz_train")


def _write_training(folder: Path) -> None:
    """The OUTPUT_DIR of a training of two iterations, interrupted before its third."""
    trained = folder / "trained"
    trained.mkdir()
    words = ["SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()", "DATASETS.TEST", "()", "OUTPUT_DIR", str(trained)]
    cfg = load_config(str(folder / "config.yaml"), words)
    with quiet(), without_logger_setup():
        trainer = LongTailTrainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()
    for file in trained.iterdir():
        if file.name != "model_final.pth":
            file.unlink()
    (trained / "model_final.pth").rename(trained / "model_0000001.pth")
    (trained / "last_checkpoint").write_text("model_0000001.pth")
    cfg.MODEL.WEIGHTS = str(folder / "out" / "model_0000001.pth")
    (trained / "config.yaml").write_text(cfg.dump())


def _write_feature_cache(folder: Path) -> None:
    """Four RoIs of two images, and three proposals of two others."""
    rois = {"features": np.arange(12, dtype=np.float16).reshape(4, 3), "labels": np.array([0, 1, 2, 2])}
    rois |= {"images": np.array([0, 0, 1, 1]), "ious": np.ones(4, np.float32), "weights": np.ones(4, np.float32)}
    proposals = {"counts": np.array([1, 2]), "network_sizes": np.full((2, 2), 8), "sizes": np.full((2, 2), 16)}
    proposals |= {"features_0": np.ones((3, 3), np.float16), "proposals_0": np.ones((3, 4), np.float32)}
    for name, columns in (("rois", {f"{key}_0": rows for key, rows in rois.items()}), ("proposals/val", proposals)):
        writer = TableWriter(folder / name, 1)
        writer.write(0, columns)
        writer.merge()
    about = {"version": VERSION, "finished": True, "key": {}, "num_classes": 2, "num_stages": 1}
    (folder / "cache.json").write_text(json.dumps({**about, "images": {"rois": [1, 2], "val": [3, 4]}}))
