"""Any feature extractor of timm (https://github.com/huggingface/pytorch-image-models) as a backbone, under an FPN."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor, nn

from lt_det.errors import LtDetError

NORMS = ("FrozenBN", "BN", "SyncBN")
_STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}  # the names of Detectron2's ResNets


class TimmBackbone(Backbone):
    """A network of timm that returns the features of each stage, named by stride as Detectron2's ResNets name theirs.

    Args:
        name: of a timm model, such as ``tf_efficientnet_lite0``. It is built with random weights: pretrained ones come
            from MODEL.WEIGHTS, see `lt_det.modeling.backbones.timm_weights`.
        out_features: from res2 (stride 4), res3 (8), res4 (16), res5 (32).
        norm: "FrozenBN" (constant statistics and scales, for small batches), "BN" or "SyncBN". Norms of other kinds,
            such as LayerNorm, stay as they are.
        freeze_at: train nothing up to this stage: 0: train everything, 1: all but the stem, 2: also without res2, ...
        in_channels: of the images.

    Raises:
        LtDetError: timm is not installed or has no such model, the model has no such features, or another argument has
            an invalid value.
    """

    def __init__(
        self,
        name: str,
        out_features: Sequence[str] = ("res3", "res4", "res5"),
        norm: str = "FrozenBN",
        freeze_at: int = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise LtDetError(f"MODEL.TIMM.NORM is '{norm}'; write one of {', '.join(NORMS)}.")
        unknown = [feature for feature in out_features if feature not in _STRIDES]
        if unknown or not out_features:
            raise LtDetError(
                f"MODEL.FPN.IN_FEATURES is {list(out_features)}; for a timm backbone, give names from "
                f"{', '.join(_STRIDES)}."
            )
        stages = _stages(feature_extractor(name))
        strides = [stage.stride for stage in stages]
        for feature in out_features:
            if strides.count(_STRIDES[feature]) != 1:
                raise LtDetError(
                    f"MODEL.TIMM.NAME {name} has features of the strides {', '.join(map(str, strides))}, so "
                    f"MODEL.FPN.IN_FEATURES cannot name {feature} (stride {_STRIDES[feature]}); choose other features "
                    "or another model."
                )
        indices = sorted(strides.index(_STRIDES[feature]) for feature in out_features)
        self.body = feature_extractor(name, in_chans=in_channels, out_indices=indices)
        self._names = sorted(out_features, key=_STRIDES.__getitem__)
        self._channels = {name: stages[index].channels for name, index in zip(self._names, indices, strict=True)}
        self._channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self._freeze(freeze_at, name)
        self._freeze_after(stages[indices[-1]].end)
        self._set_norm(norm)

    def _freeze(self, freeze_at: int, name: str) -> None:
        from timm.utils import freeze

        for module in _modules_until(self.body, freeze_at, name):
            freeze(self.body, [module], include_bn_running_stats=True)

    def _freeze_after(self, end: str) -> None:
        """Stages after the last feature get no gradient, which training on several processes would wait for."""
        used = _parts_until(self.body, end)
        for name, parameter in self.body.named_parameters():
            if used is not None and not name.startswith(tuple(f"{part}." for part in used)):
                parameter.requires_grad_(False)

    def _set_norm(self, norm: str) -> None:
        from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d

        if norm == "FrozenBN":
            self.body = freeze_batch_norm_2d(self.body)
        elif norm == "SyncBN":
            self.body = convert_sync_batchnorm(self.body)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W), H and W multiples of the largest stride, to maps (N, channels, H, W) / stride."""
        features = self.body(x)
        if self._channels_last:
            features = [feature.permute(0, 3, 1, 2).contiguous() for feature in features]
        return dict(zip(self._names, features, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: ShapeSpec(channels=self._channels[name], stride=_STRIDES[name]) for name in self._names}


def feature_extractor(name: str, **options: Any) -> nn.Module:
    """timm's model without its classifier, which returns a list with the features of each stage.

    Args:
        name: of a timm model.
        options: of ``timm.create_model``.

    Raises:
        LtDetError: timm is not installed, has no such model, or the model has no features by stage.
    """
    timm = import_timm()
    check_name(name, "MODEL.TIMM.NAME")
    if name.startswith("swin"):
        options["strict_img_size"] = False  # images of any size
    try:
        return timm.create_model(name, features_only=True, **options)
    except (RuntimeError, AttributeError, AssertionError, TypeError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise LtDetError(f"MODEL.TIMM.NAME {name} cannot return the features of its stages ({reason}).") from error


def _modules_until(body: nn.Module, freeze_at: int, name: str) -> list[str]:
    """Names of the modules of `body` that run up to the end of the stage that `freeze_at` numbers."""
    if not 0 <= freeze_at <= 5:
        raise LtDetError(f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}; give 0 to 5.")
    if freeze_at == 0:
        return []
    ends = {stage.stride: stage.end for stage in _stages(body)}
    if freeze_at > 1 and 2**freeze_at not in ends:
        raise LtDetError(
            f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but MODEL.TIMM.NAME {name} has no features of stride "
            f"{2**freeze_at}; it has {', '.join(map(str, ends))}."
        )
    stem_only = 2**freeze_at not in ends
    last = next(end for stride, end in ends.items() if stem_only or stride == 2**freeze_at)
    names = _parts_until(body, last)
    if names is None:
        raise LtDetError(
            f"MODEL.TIMM.NAME {name} cannot be frozen by stages; set MODEL.BACKBONE.FREEZE_AT to 0 or choose another "
            "model."
        )
    return names[:-1] if stem_only else names


def _parts_until(body: nn.Module, end: str) -> list[str] | None:
    """Names of the layers or blocks up to the one that ends with `end`; None if the network is not in that order."""
    parts = _parts(body, {stage.end for stage in _stages(body)})  # in the order in which they run
    of_end = [index for index, part in enumerate(parts) if end == part or end.startswith(f"{part}.")]
    return parts[: of_end[0] + 1] if of_end else None


def import_timm() -> Any:
    """
    Raises:
        LtDetError: timm cannot be imported.
    """
    try:
        import timm
    except ImportError as error:
        raise LtDetError(
            f"Backbones and weights of timm need timm, which cannot be imported ({error}); pip install 'lt_det[small]'."
        ) from error
    return timm


def check_name(name: str, key: str) -> None:
    """
    Raises:
        LtDetError: timm has no model of this name.
    """
    timm = import_timm()
    if timm.is_model(name):
        return
    similar = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"; similar names: {', '.join(similar)}" if similar else ""
    raise LtDetError(f"{key} is '{name}', and timm has no such model{hint}.")


class _Stage(NamedTuple):
    """A stage of a network: the stride and channels of its features, and the name of the module that returns them."""

    stride: int
    channels: int
    end: str


def _stages(body: Any) -> list[_Stage]:
    """All stages of a feature extractor, in their order, those that it does not return included."""
    children = {name for name, _ in body.named_children()}
    stages = []
    for info in body.feature_info.info:
        end = info["module"]
        renamed = end.replace(".", "_")  # timm says stages.0 where it has renamed a child to stages_0
        stages.append(_Stage(info["reduction"], info["num_chs"], renamed if renamed in children else end))
    return stages


def _parts(body: nn.Module, ends: set[str]) -> list[str]:
    """Names of the layers or blocks of `body`, fine enough that each stage ends with one of them."""
    parts = []
    for name, child in body.named_children():
        divided = any(end.startswith(f"{name}.") for end in ends)
        parts += [f"{name}.{inner}" for inner, _ in child.named_children()] if divided else [name]
    return parts


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """Build a feature pyramid on a `TimmBackbone` for ``MODEL.BACKBONE.NAME``.

    Of Detectron2's keys, it reads MODEL.FPN and MODEL.BACKBONE.FREEZE_AT; its own are MODEL.TIMM.NAME and NORM.

    Raises:
        LtDetError: see `TimmBackbone`.
    """
    bottom_up = TimmBackbone(
        cfg.MODEL.TIMM.NAME,
        out_features=cfg.MODEL.FPN.IN_FEATURES,
        norm=cfg.MODEL.TIMM.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        in_channels=input_shape.channels,
    )
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
