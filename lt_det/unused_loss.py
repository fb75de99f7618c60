"""What to say of a config whose network has no box head of lt_det, and so would ignore its loss."""

from __future__ import annotations

from typing import Any

# Detectron2's networks that have no ROI heads, whatever MODEL.ROI_HEADS says.
WITHOUT_ROI_HEADS = ("RetinaNet", "ProposalNetwork", "SemanticSegmentor")


def unused_loss(cfg: Any) -> str:
    """The sentence for a config whose loss no head would use."""
    return (
        f"MODEL.LONG_TAIL.LOSS.NAME is {cfg.MODEL.LONG_TAIL.LOSS.NAME}, but the network (MODEL.META_ARCHITECTURE "
        f"{cfg.MODEL.META_ARCHITECTURE}, ROI_HEADS.NAME {cfg.MODEL.ROI_HEADS.NAME}) has no box head of lt_det and "
        f"would train with another loss; {advice_for_heads(cfg)}."
    )


def advice_for_heads(cfg: Any) -> str:
    """How to get a network with a box head of lt_det, as a part of a sentence."""
    advice = []
    if cfg.MODEL.META_ARCHITECTURE in WITHOUT_ROI_HEADS:
        advice.append("MODEL.META_ARCHITECTURE to GeneralizedRCNN")
    if not cfg.MODEL.ROI_HEADS.NAME.startswith("LongTail"):
        advice.append("MODEL.ROI_HEADS.NAME to LongTailROIHeads, LongTailCascadeROIHeads or LongTailRes5ROIHeads")
    return f"set {' and '.join(advice)}" if advice else "use a network that has these heads"
