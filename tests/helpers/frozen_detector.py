"""A small dataset and a small detector with random weights, whose features tests compute."""

import json
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.modeling import build_model
from PIL import Image

from lt_det.modeling.recorder import recording
from lt_det.training import LongTailCheckpointer, load_config
from tests.helpers import REPOSITORY
from tests.helpers.models import small_config, synthetic_batch

NUM_CLASSES = 3
NUM_TRAIN, NUM_VAL = 11, 5


def write_images(folder: Path, part: str, number: int) -> Path:
    """Noise with one to four boxes per image; the second image has none. Class 2 is in the first image only."""
    generator = np.random.default_rng(len(part))
    images, annotations = [], []
    for index in range(number):
        width, height = 48 + 4 * (index % 3), 48
        pixels = generator.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{part}{index}.png")
        images.append({"id": 10 + index, "width": width, "height": height, "file_name": f"{part}{index}.png"})
        for number_of_box in range(0 if index == 1 else 1 + index % 4):
            x, y = (int(value) for value in generator.integers(0, 20, 2))
            w, h = (int(value) for value in generator.integers(10, 27, 2))
            category = 2 if index == 0 else number_of_box % 2
            box = {"bbox": [x, y, w, h], "area": w * h, "category_id": 5 + category, "image_id": 10 + index}
            annotations.append({**box, "id": len(annotations) + 1, "iscrowd": 0})
    categories = [{"id": 5 + k, "name": f"class{k}"} for k in range(NUM_CLASSES)]
    file = folder / f"{part}.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def write_detector(folder: Path) -> Path:
    """Write data, checkpoint and config into `folder`; return the config."""
    sets = {part: write_images(folder, part, n) for part, n in (("train", NUM_TRAIN), ("val", NUM_VAL))}
    named = ", ".join(f"{folder.name}_{part}: {{JSON: {json}, IMAGES: {folder}}}" for part, json in sets.items())
    config = folder / "config.yaml"
    config.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_softmax.yaml
DATASETS:
  REGISTER: {{{named}}}
  TRAIN: ("{folder.name}_train",)
  TEST: ("{folder.name}_val",)
INPUT: {{MIN_SIZE_TRAIN: [40, 48], MIN_SIZE_TEST: 48, RANDOM_FLIP: horizontal}}
MODEL:
  ROI_HEADS: {{NUM_CLASSES: {NUM_CLASSES}, BATCH_SIZE_PER_IMAGE: 16}}
  ROI_BOX_HEAD: {{FC_DIM: 8}}
  RPN: {{POST_NMS_TOPK_TEST: 6, POST_NMS_TOPK_TRAIN: 40}}
  WEIGHTS: {folder}/model_final.pth
DATALOADER: {{NUM_WORKERS: 0, FILTER_EMPTY_ANNOTATIONS: False}}
OUTPUT_DIR: {folder}
SEED: 0
""")
    write_checkpoint(load(config), folder)
    return config


def load(config: Path, *overrides: object):
    """The config, with its datasets registered."""
    names = [name for name in DatasetCatalog.list() if name.startswith(f"{config.parent.name}_")]
    for name in names:
        DatasetCatalog.remove(name)
    return load_config(str(config), list(map(str, overrides)))


def write_checkpoint(cfg, folder: Path, seed: int = 0) -> str:
    """Random weights, whose boxes and scores differ from proposal to proposal."""
    torch.manual_seed(seed)
    model = build_model(cfg).eval()
    scale_outputs(model, DatasetMapper(cfg, False)(DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[0]))
    LongTailCheckpointer(model, str(folder)).save("model_final")
    return str(folder / "model_final.pth")


def small_detector(roi_heads: str, **overrides: object):
    """A `small_config` model, in evaluation mode, whose proposals and scores are moderate."""
    torch.manual_seed(0)
    narrow = {"RES2_OUT_CHANNELS": 32, "STEM_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 8} if "Res5" in roi_heads else {}
    narrow = {f"MODEL.RESNETS.{key}": value for key, value in narrow.items()}
    model = build_model(small_config(roi_heads, **narrow, **overrides)).eval()
    scale_outputs(model, synthetic_batch()[0])
    return model


def scale_outputs(model, record) -> None:
    """Scale random weights so that the proposals of an image are many, and their scores and boxes moderate.

    Features of random networks without trained normalization are in the hundreds.
    """
    with torch.no_grad():
        for weight in model.proposal_generator.parameters():
            weight.mul_(1e-3)  # proposals are anchors, nearly
        with recording(model.roi_heads) as stages:
            for stage in stages:  # one after the other: their boxes depend on the stages before them
                model.inference([record])
                logits, deltas = stage.predictor(stage.features)
                stage.predictor.cls_score.weight.mul_(1 / logits.std())
                stage.predictor.bbox_pred.weight.mul_(0.3 / deltas.std())


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a feature cache with their content."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
