"""Detectors with random weights on a few images of mini_lvis, and what their box predictors get at test time."""

import json

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers

from lt_det.bakeoff.cache.tables import ProposalTable
from lt_det.bakeoff.detector import ClassifierStates, detector_config, with_classifiers
from lt_det.training import LongTailCheckpointer, LongTailTrainer, load_config
from tests.helpers import REPOSITORY, first_images

VAL, TRAIN = "scored_val", "scored_train"


def write_config(mini, folder, num_images):
    """A config that evaluates `num_images` images as `VAL`."""
    for name in {VAL, TRAIN} & set(DatasetCatalog.list()):  # another file of tests may have given it other images
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    few = mini.val_json.with_name(f"first_{num_images}.json")
    few.write_text(json.dumps(first_images(mini.val_json, num_images)))
    named = ", ".join(
        f"{name}: {{JSON: {file}, IMAGES: {mini.image_root}}}" for name, file in ((VAL, few), (TRAIN, mini.train_json))
    )
    config = folder / "config.yaml"
    config.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_softmax.yaml
DATASETS:
  REGISTER: {{{named}}}
  TRAIN: ("{TRAIN}",)
  TEST: ("{VAL}",)
MODEL:
  ROI_HEADS: {{NUM_CLASSES: 12}}
  ROI_MASK_HEAD: {{NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 1, CONV_DIM: 8}}
DATALOADER: {{NUM_WORKERS: 0}}
TEST: {{DETECTIONS_PER_IMAGE: 50, RESAMPLES: 0}}
""")
    return config


def random_detector(config, folder, *overrides):
    """The config of a detector that was trained in `folder`; its weights detect something by chance."""
    cfg = load_config(str(config), ["MODEL.WEIGHTS", "", "OUTPUT_DIR", str(folder), *map(str, overrides)])
    model = build_model(cfg)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                scale = 0.1 if "cls_score" in name else weight.std() if weight.std() > 0 else 0.01
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    checkpointer = LongTailCheckpointer(model, str(folder))
    checkpointer.decoupled = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
    checkpointer.save("model_final", iteration=5)
    cfg.MODEL.WEIGHTS = f"{folder}/model_final.pth"
    return cfg


@torch.no_grad()
def record_proposals(cfg, dataset):
    """What the box predictors of MODEL.WEIGHTS get on a dataset, image by image."""
    model = LongTailTrainer.build_model(cfg).eval()
    LongTailCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    stages = [module for module in model.modules() if isinstance(module, FastRCNNOutputLayers)]
    features, boxes = [[] for _ in stages], [[] for _ in stages]
    for n, stage in enumerate(stages):

        def predict_boxes(predictions, proposals, n=n, original=stage.predict_boxes):
            boxes[n].append(proposals[0].proposal_boxes.tensor.numpy().copy())
            return original(predictions, proposals)

        stage.register_forward_pre_hook(lambda _, args, n=n: features[n].append(args[0].flatten(1).numpy().copy()))
        stage.predict_boxes = predict_boxes
    ids, sizes, network_sizes = [], [], []
    for (image,) in LongTailTrainer.build_test_loader(cfg, dataset):
        before = len(boxes[-1])
        model([image])
        del boxes[-1][before + 1 :]  # a cascade asks its last stage twice
        ids.append(image["image_id"])
        sizes.append((image["height"], image["width"]))
        network_sizes.append(image["image"].shape[1:])
    counts = [len(rows) for rows in boxes[0]]
    return ProposalTable(
        [np.concatenate(stage) for stage in features],
        [np.concatenate(stage) for stage in boxes],
        np.concatenate([[0], np.cumsum(counts)]),
        np.array(network_sizes),
        np.array(sizes),
        ids,
    )


def changed_config(cfg, *overrides):
    """The config of a candidate: that of the detector with KEY VALUE overrides."""
    changed = detector_config(cfg)
    changed.merge_from_list(list(overrides))
    return changed


def random_classifiers(own, cfg):
    """Classifiers for a candidate's config that are confident by chance."""
    stages = with_classifiers(own, cfg)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for stage in stages:
            weight = stage.cls_score.weight
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return ClassifierStates.of(stages)
