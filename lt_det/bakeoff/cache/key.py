"""What a feature cache was computed from: checkpoint, config and data. A cache with another key is never used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.data import DatasetCatalog
from detectron2.utils.file_io import PathManager

from lt_det.data.cache.record_cache import follows_json
from lt_det.data.class_counts import FileState
from lt_det.errors import LtDetError
from lt_det.modeling.roi_heads import STOCK_HEADS

# Parts of the config that change no feature: losses, thresholds of detections, and where things are.
_WITHOUT_EFFECT = (
    "MODEL.COMPILE",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.LONG_TAIL",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT",
    "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER",
    "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES",
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA",
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS",
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
)


def cache_key(cfg: Any, datasets: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the content of a feature cache, as json.

    The checkpoint counts by its content, a dataset by size and time of change of its annotation file, or by its records
    where a user's own function makes them. Whether the images have changed is not known.

    Args:
        cfg: of the detector.
        datasets: whose proposals are recorded.
        options: of `compute_features`.

    Raises:
        LtDetError: there is no checkpoint, or no file of proposals.
    """
    config = {"MODEL": yaml.safe_load(cfg.MODEL.dump()), "INPUT": yaml.safe_load(cfg.INPUT.dump())}
    for path in _WITHOUT_EFFECT:
        *parents, name = path.split(".")
        node: Any = config
        for parent in parents:
            node = node[parent]
        node.pop(name, None)
    heads = config["MODEL"]["ROI_HEADS"]
    heads["NAME"] = STOCK_HEADS.get(heads["NAME"], heads["NAME"])
    config["DATALOADER"] = {"FILTER_EMPTY_ANNOTATIONS": cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS}
    names = dict.fromkeys([*cfg.DATASETS.TRAIN, *datasets])
    return {
        "checkpoint": _checkpoint_digest(cfg.MODEL.WEIGHTS),
        "config": config,
        "training sets": list(cfg.DATASETS.TRAIN),
        "datasets": list(datasets),
        "data": {name: _state_of_data(name) for name in names},
        "proposal files": _proposal_files(cfg),
        "seed": max(cfg.SEED, 0),
        "options": dict(options),
    }


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The entries that differ between two keys, as dotted names, in a few words each."""
    result = []
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        one, other = found.get(name), wanted.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            result += differences(one, other, f"{prefix}{name}.")
        elif one != other:
            result.append(f"{prefix}{name}".removeprefix("config."))
    return result


def _state_of_data(name: str) -> str:
    if follows_json(name):
        return FileState.of([name]).fingerprint
    digest = hashlib.sha256()
    for record in DatasetCatalog.get(name):
        digest.update(repr(record).encode())
    return digest.hexdigest()


def _proposal_files(cfg: Any) -> dict[str, str]:
    """Size and time of change of the files that proposals come from, if they do not come from the detector."""
    if not cfg.MODEL.LOAD_PROPOSALS:
        return {}
    files = (*cfg.DATASETS.PROPOSAL_FILES_TRAIN, *cfg.DATASETS.PROPOSAL_FILES_TEST)
    try:
        states = [Path(PathManager.get_local_path(file)).stat() for file in files]
    except OSError as error:
        raise LtDetError(f"A file of DATASETS.PROPOSAL_FILES_* cannot be read ({error}); correct the path.") from error
    return {file: f"{state.st_size} bytes {state.st_mtime_ns}" for file, state in zip(files, states, strict=True)}


def _checkpoint_digest(weights: str) -> str:
    """SHA-256 of the checkpoint file."""
    if not weights:
        raise LtDetError(
            "No checkpoint is given, and features of an untrained network are useless; set MODEL.WEIGHTS to the "
            "checkpoint of a trained detector."
        )
    try:
        path = Path(PathManager.get_local_path(weights))
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise LtDetError(
            f"The checkpoint {weights} (MODEL.WEIGHTS) cannot be read ({reason}); give the checkpoint of a trained "
            "detector."
        ) from error
    return digest.hexdigest()
