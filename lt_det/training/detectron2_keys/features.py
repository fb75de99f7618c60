"""Features that a config names and its backbone does not compute: Detectron2 fails with a KeyError of the name."""

from __future__ import annotations

from typing import Any

from detectron2.modeling import build_backbone

from lt_det.errors import did_you_mean
from lt_det.training.config_files.key_paths import value_at

_KEYS = ("MODEL.ROI_HEADS.IN_FEATURES", "MODEL.RPN.IN_FEATURES", "MODEL.RETINANET.IN_FEATURES")


def missing_feature(cfg: Any, error: KeyError) -> str | None:
    """The sentence for a KeyError of building a network; None if it is about something else.

    Explained after Detectron2 has failed, because only a backbone that has been built says what it computes.
    """
    name = error.args[0] if error.args else None
    keys = [key for key in _KEYS if name in value_at(cfg, key)]
    if not keys:
        return None
    try:
        features = list(build_backbone(cfg).output_shape())
    except Exception:  # then the error is one of the backbone
        return None
    if name in features:
        return None
    return (
        f"{keys[0]} names '{name}', which the backbone ({cfg.MODEL.BACKBONE.NAME}) does not compute; choose from "
        f"{', '.join(features)}{did_you_mean(name, features)}"
    )
