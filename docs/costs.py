#!/usr/bin/env python
"""Write docs/costs.md from zoo/costs.json, the configs for LVIS and COCO, and the sizes of their checkpoints.

python docs/costs.py              # also computes the sizes (zoo/checkpoint_sizes.json), in some minutes
python docs/costs.py --page-only  # from the sizes in the file
"""

import json
import sys
from pathlib import Path
from unittest.mock import patch

from detectron2.modeling import build_model
from torch import Tensor

from lt_det.training import load_config
from lt_det.training.decoupled import train_classifier_only
from lt_det.zoo.gates import is_adjustment

ROOT = Path(__file__).resolve().parents[1]
COSTS, SIZES, PAGE = ROOT / "zoo" / "costs.json", ROOT / "zoo" / "checkpoint_sizes.json", ROOT / "docs" / "costs.md"
DATASETS = ("lvis", "coco")  # the training sets of the shipped configs that are not small

INTRODUCTION = """# What a training costs

Hours, GPU memory, minutes per evaluation and disk space of each config for LVIS and COCO. `python docs/costs.py` makes
this page from `zoo/costs.json` and the configs.

**≈ marks an estimate.** None of these schedules has been run. The estimates are for one node with {gpus} V100 GPUs and
{images} images per iteration, from the seconds and gigabytes of [Detectron2's model zoo]({link})
(see [the last table](#basis)). A current GPU is faster: [`tools/smoke.sh`](training.md#before-a-long-training)
extrapolates from 20 iterations on yours.
Numbers without a mark are exact: those of the config, and sizes computed from the tensors of the config's network.
"""

NOTES = """
- Hours are iterations times seconds per iteration, without evaluations. lt_det's losses are assumed to cost nothing: in
  [a whole training step on the CPU](losses.md#speed-and-memory) the choice of the loss made no visible difference.
- GPU memory is per GPU, for 2 images.
- Minutes per evaluation are those of the network on {gpus} GPUs, without the metrics, which take
  {metrics} and longer for masks (not
  measured at this size).
- "evaluations" are those every `TEST.EVAL_PERIOD` iterations, and the one at the end.
- A checkpoint holds weights and momentum. Detectron2 keeps all of them, one every `SOLVER.CHECKPOINT_PERIOD`
  iterations; with `SOLVER.MAX_TO_KEEP 1`, lt_det keeps the last one and `model_final.pth`.
- "at most": decoupled training (cRT, LWS) computes only the gradient of the classifier.
- "no training": the config adjusts the classifier of a finished `lvis_softmax` detector, and writes its weights.
- LVIS itself needs another [21 GB, and 40 GB during the download](lvis.md#download-the-data).
"""
METRICS = "27 s for the boxes of 19,809 images ([measured on one CPU core](evaluation_speed.md#from-files))"


def read_configs():
    """The config of each yaml file that trains on LVIS or COCO, by its name."""
    cfgs = {path.name: load_config(str(path)) for path in sorted((ROOT / "configs").glob("*.yaml"))}
    return {name: cfg for name, cfg in cfgs.items() if cfg.DATASETS.TRAIN[0].startswith(DATASETS)}


def checkpoint_bytes(cfg):
    """Weights, and momentum of what is trained."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    with patch.object(Tensor, "normal_", _nothing), patch.object(Tensor, "uniform_", _nothing):  # values do not matter
        model = build_model(cfg)
    train_classifier_only(model, cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD)
    weights = sum(value.nbytes for value in model.state_dict().values())
    if is_adjustment(cfg):
        return weights
    return weights + sum(value.nbytes for value in model.parameters() if value.requires_grad)


def _nothing(tensor, *_, **__):
    return tensor


def detector_of(cfg):
    kind = "Cascade Mask R-CNN" if "Cascade" in cfg.MODEL.ROI_HEADS.NAME else "Mask R-CNN"
    return f"{kind}, {'LVIS' if cfg.DATASETS.TRAIN[0].startswith('lvis') else 'COCO'}"


def kept_checkpoints(cfg):
    """Number of files at the end: one for each period, and model_final.pth."""
    periodic = cfg.SOLVER.MAX_ITER // cfg.SOLVER.CHECKPOINT_PERIOD
    return 1 + (periodic if cfg.SOLVER.MAX_TO_KEEP is None else min(periodic, cfg.SOLVER.MAX_TO_KEEP))


def row(name, cfg, costs, size):
    """The cells of one config."""
    detector = costs["detectors"][detector_of(cfg)]
    images = sum(costs["evaluation_images"][dataset] for dataset in cfg.DATASETS.TEST)
    minutes = f"≈ {images * detector['seconds_per_image'] / costs['gpus'] / 60:.1f}"
    trains_all = not (is_adjustment(cfg) or cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD)
    bound = "" if trains_all else "at most "
    link, memory = f"[{name}](../configs/{name})", f"{bound}≈ {detector['memory_gb']}"
    if is_adjustment(cfg):
        return [
            link,
            "no training",
            "0",
            memory,
            "1",
            minutes,
            f"{size / 1e9:.2f}",
            f"{size / 1e9:.2f}",
            f"{size / 1e9:.2f}",
        ]
    iterations, period = cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD
    hours = f"≈ {iterations * detector['seconds_per_iteration'] / 3600:.1f}"
    evaluations = -(-iterations // period) if period else 1
    sizes = [f"{size * number / 1e9:.2f}" for number in (1, 2, kept_checkpoints(cfg))]
    return [link, str(iterations), bound + hours, memory, str(evaluations), minutes, sizes[0], sizes[1], sizes[2]]


def page(cfgs, costs, sizes):
    """The text of docs/costs.md."""
    columns = ["config", "iterations", "training, h", "GPU memory, GB", "evaluations", "each, min"]
    columns += ["checkpoint, GB", "disk with MAX_TO_KEEP 1, GB", "disk, GB"]
    lines = [INTRODUCTION.format(images=costs["images_per_iteration"], **costs)]
    lines += [" | ".join(["", *columns, ""]).strip(), "|---|" + "---:|" * (len(columns) - 1)]
    lines += [" | ".join(["", *row(name, cfg, costs, sizes[name]), ""]).strip() for name, cfg in cfgs.items()]
    lines += [NOTES.format(gpus=costs["gpus"], metrics=METRICS)]
    lines += ["## Basis\n", "| detector | s per iteration | s per image at test time | GPU memory, GB | from |"]
    lines += ["|---|---:|---:|---:|---|"]
    for name, one in costs["detectors"].items():
        numbers = (one["seconds_per_iteration"], one["seconds_per_image"], one["memory_gb"])
        lines += [f"| {name} | {' | '.join(map(str, numbers))} | {one['basis']} |"]
    return "\n".join(lines) + "\n"


def main():
    cfgs = read_configs()
    if "--page-only" not in sys.argv[1:]:
        sizes = {name: checkpoint_bytes(cfg) for name, cfg in cfgs.items()}
        SIZES.write_text(json.dumps(sizes, indent=1) + "\n")
    PAGE.write_text(page(cfgs, json.loads(COSTS.read_text()), json.loads(SIZES.read_text())))
    print(f"Written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
