"""Mutated configs of a tiny detector, and the verdicts of `lt-det doctor` and of a real training of two iterations."""

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from lt_det.compat.detectron2 import without_logger_setup
from lt_det.doctor.config_checks import examine_config
from lt_det.errors import LtDetError
from lt_det.training.config_loading import load_config
from lt_det.training.preflight import check_config
from lt_det.training.trainer import LongTailTrainer
from lt_det.training.trial import quiet
from tests.helpers import REPOSITORY

LIST = Path(__file__).with_name("config_mutations.json")  # key, value, whether a training accepts it


def mutations():
    """The reviewed list, as (key, value, accepted)."""
    return [tuple(row) for row in json.loads(LIST.read_text())]


def write_tiny_set(folder):
    """Three training and two validation images of 48 pixels with masks of two classes."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for part, number in (("train", 3), ("val", 2)):
        images, annotations = [], []
        for index in range(number):
            name = f"{part}{index}.png"
            Image.fromarray(generator.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(folder / "images" / name)
            images.append({"id": index, "file_name": name, "width": 48, "height": 48})
            for k, (x, y) in enumerate(((4, 6), (20, 22))):
                polygon = [x, y, x + 20, y, x + 20, y + 18, x, y + 18]
                annotations.append(
                    {"id": len(annotations), "image_id": index, "category_id": k, "bbox": [x, y, 20, 18]}
                    | {"area": 360, "iscrowd": 0, "segmentation": [polygon]}
                )
        categories = [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{part}.json").write_text(json.dumps(content))
    return folder


def tiny_config(data, name):
    """A config of two iterations, as a dictionary; its sets are registered as `name`_train and `name`_val."""
    entries = {part: {"JSON": str(data / f"{part}.json"), "IMAGES": str(data / "images")} for part in ("train", "val")}
    return {
        "_BASE_": str(REPOSITORY / "configs" / "base" / "mini_lvis.yaml"),
        "DATASETS": {
            "REGISTER": {f"{name}_{part}": entry for part, entry in entries.items()},
            "TRAIN": [f"{name}_train"],
            "TEST": [f"{name}_val"],
        },
        "MODEL": {
            "RPN": {"BATCH_SIZE_PER_IMAGE": 16, "POST_NMS_TOPK_TRAIN": 20, "POST_NMS_TOPK_TEST": 10},
            "ROI_HEADS": {"NUM_CLASSES": 2, "BATCH_SIZE_PER_IMAGE": 16},
            "ROI_BOX_HEAD": {"FC_DIM": 16, "POOLER_RESOLUTION": 3},
        },
        "INPUT": {"MIN_SIZE_TRAIN": [48], "MIN_SIZE_TEST": 48},
        "SOLVER": {"IMS_PER_BATCH": 2, "MAX_ITER": 2, "STEPS": [], "WARMUP_ITERS": 1, "BASE_LR": 0.01},
        "DATALOADER": {"NUM_WORKERS": 0},
        "TEST": {"EVAL_PERIOD": 0, "RESAMPLES": 0},
    }


def mutated(config, key, value):
    """A copy of the config in which one key has another value."""
    config = copy.deepcopy(config)
    node, *path = config, *key.split(".")
    for part in path[:-1]:
        node = node.setdefault(part, {})
    node[path[-1]] = value
    return config


def write_mutated(data, name, key, value):
    """The yaml file of the tiny config in which one key has another value; see `tiny_config`."""
    file = data / "mutated.yaml"
    file.write_text(yaml.safe_dump(mutated(tiny_config(data, name), key, value)))
    return file


def doctor_refuses(file):
    """The fatal findings of `lt-det doctor --config`; empty if it accepts the config."""
    return [f"{f.subject}: {f.advice}" for f in examine_config(str(file)) if f.fatal]


def training_refuses(file):
    """Why a training of the config fails, as type and text; empty if it does all its iterations and its evaluation."""
    with tempfile.TemporaryDirectory() as folder, quiet(), without_logger_setup():
        try:
            cfg = load_config(str(file), ["OUTPUT_DIR", folder])
            check_config(cfg, training=True, resume=False)
            trainer = LongTailTrainer(cfg)
            trainer.resume_or_load(resume=False)
            trainer.train()
        except LtDetError as error:
            return f"LtDetError: {error}"
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error}"
    return ""
