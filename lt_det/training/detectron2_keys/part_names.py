"""Names of Detectron2's parts that are misspelled: which key has the name, and what was meant.

Explained after Detectron2 has failed, and not checked before, because a user's own trainer may know other names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    RPN_HEAD_REGISTRY,
)

_REGISTRIES = {
    "ANCHOR_GENERATOR": ("MODEL.ANCHOR_GENERATOR.NAME", ANCHOR_GENERATOR_REGISTRY),
    "BACKBONE": ("MODEL.BACKBONE.NAME", BACKBONE_REGISTRY),
    "META_ARCH": ("MODEL.META_ARCHITECTURE", META_ARCH_REGISTRY),
    "PROPOSAL_GENERATOR": ("MODEL.PROPOSAL_GENERATOR.NAME", PROPOSAL_GENERATOR_REGISTRY),
    "ROI_BOX_HEAD": ("MODEL.ROI_BOX_HEAD.NAME", ROI_BOX_HEAD_REGISTRY),
    "ROI_HEADS": ("MODEL.ROI_HEADS.NAME", ROI_HEADS_REGISTRY),
    "ROI_KEYPOINT_HEAD": ("MODEL.ROI_KEYPOINT_HEAD.NAME", ROI_KEYPOINT_HEAD_REGISTRY),
    "ROI_MASK_HEAD": ("MODEL.ROI_MASK_HEAD.NAME", ROI_MASK_HEAD_REGISTRY),
    "RPN_HEAD": ("MODEL.RPN.HEAD_NAME", RPN_HEAD_REGISTRY),
}

# Detectron2's errors for names that are no registry's, their keys, and the names that there are.
_CHOICES = {
    r"Unknown LR scheduler: (.*)": ("SOLVER.LR_SCHEDULER_NAME", ("WarmupMultiStepLR", "WarmupCosineLR")),
    r"Unknown warmup method: (.*)": ("SOLVER.WARMUP_METHOD", ("linear", "constant")),
    r"Unknown pooler type: (.*)": (
        "POOLER_TYPE of MODEL.ROI_BOX_HEAD, ROI_MASK_HEAD or ROI_KEYPOINT_HEAD",
        ("ROIAlignV2", "ROIAlign", "ROIPool", "ROIAlignRotated"),
    ),
    r"Invalid dense box regression loss type '(.*)'": (
        "BBOX_REG_LOSS_TYPE of MODEL.ROI_BOX_HEAD, RPN or RETINANET",
        ("smooth_l1", "giou", "diou", "ciou"),
    ),
    r"'(.*)' is not a valid GradientClipType": ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", ("value", "norm")),
}


def misspelled_part(error: BaseException) -> str | None:
    """The sentence for a name that Detectron2 does not know; None for any other error."""
    text = str(error.args[0] if error.args else error)
    if isinstance(error, KeyError) and (found := re.match(r"No object named '(.*)' found in '(.*)' registry", text)):
        name, registry = found.groups()
        if registry in _REGISTRIES:
            key, known = _REGISTRIES[registry]
            return _sentence(key, name, [entry for entry, _ in known], ", or register yours before the config is read")
    for pattern, (key, choices) in _CHOICES.items() if isinstance(error, ValueError) else ():
        if found := re.match(pattern, text):
            return _sentence(key, found[1], choices, "")
    return None


def _sentence(key: str, name: str, known: Sequence[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name.lower(), [entry.lower() for entry in known], n=1, cutoff=0.4)
    meant = [entry for entry in known if entry.lower() in close]
    advice = f"did you mean {meant[0]}?" if meant else f"write one of {', '.join(known)}{otherwise}."
    return f"{key} is '{name}', which Detectron2 does not know; {advice}"
