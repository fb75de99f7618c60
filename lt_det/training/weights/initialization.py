"""What keeps a backbone that starts from random weights from learning, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

_TOLERATED = 0.1  # fraction of the weights of the backbone that may be missing


def backbone_problem(model: nn.Module, weights: str, missing: Collection[str] | None = None) -> str:
    """Why the backbone of a detector starts badly, in one sentence; empty where it starts well.

    Norms with frozen statistics assume pretrained weights: with random ones nothing keeps the scale of the features,
    which grows from block to block. Frozen stages stay random.

    Args:
        model: a network of Detectron2, whose backbone is `model.backbone`.
        weights: MODEL.WEIGHTS.
        missing: names of the model's weights that `weights` do not hold; None: all, because there are no weights.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        return ""
    prefix = "backbone."
    if isinstance(bottom_up := getattr(backbone, "bottom_up", None), nn.Module):  # ImageNet weights have no FPN
        backbone, prefix = bottom_up, "backbone.bottom_up."
    state = backbone.state_dict()
    random = set(state) if missing is None else {name for name in state if prefix + name in missing}
    total = sum(weight.numel() for weight in state.values())
    fraction = sum(state[name].numel() for name in random) / max(total, 1)
    if fraction <= _TOLERATED:
        return ""
    consequences = _consequences(backbone, random)
    norm = "MODEL.TIMM.NORM to BN" if type(backbone).__name__ == "TimmBackbone" else "MODEL.RESNETS.NORM to BN or GN"
    unfrozen = f"{norm}, and MODEL.BACKBONE.FREEZE_AT to 0"
    key = "MODEL.WEIGHTS (LazyConfig: train.init_checkpoint)"
    if missing is None:
        if not consequences:
            return ""
        return (
            f"{key} is empty, so the backbone starts from random weights: {consequences}; set {key} to pretrained "
            f"weights, or {unfrozen}."
        )
    return (
        f"{weights} ({key}) lacks {fraction:.0%} of the backbone's weights, which start from random values"
        f"{consequences and ': '}{consequences}; check that the file belongs to this network (MODEL.BACKBONE.NAME, "
        f"MODEL.RESNETS.DEPTH, MODEL.TIMM.NAME){f', or set {unfrozen}' if consequences else ''}."
    )


def _consequences(backbone: nn.Module, random: Collection[str]) -> str:
    """What frozen parts do to these weights."""
    norms = [
        type(module).__name__
        for name, module in backbone.named_modules()
        if "Norm" in type(module).__name__ and f"{name}.weight" in random
    ]
    frozen_norms = sum(name.startswith("FrozenBatchNorm") for name in norms)
    parameters = {name: parameter for name, parameter in backbone.named_parameters() if name in random}
    size = sum(parameter.numel() for parameter in parameters.values())
    frozen = sum(parameter.numel() for parameter in parameters.values() if not parameter.requires_grad)
    found = []
    if frozen_norms > len(norms) / 2:  # those of frozen stages are frozen whatever the others are
        found.append("with frozen norms, nothing keeps the features in scale, and the loss soon becomes infinite")
    if frozen:
        found.append(f"{frozen / size:.1%} of these weights are frozen and never learn")
    return ", and ".join(found)
