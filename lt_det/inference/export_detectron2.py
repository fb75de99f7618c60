"""A trained detector for Detectron2 without lt_det: a checkpoint of its own heads, and a config that builds them.

Detectron2's box predictor is a linear classifier whose scores are a softmax, or with USE_SIGMOID_CE a sigmoid of each
class. A detector of lt_det has the same detections if its scores are one of these functions of linear logits; scales of
classes or logits become part of the weights.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.inference.export import Arrays, Exported, report_full_disk, traceable
from lt_det.layers import ScaledLinear
from lt_det.losses import registered_name
from lt_det.modeling.predictor import LongTailPredictor
from lt_det.modeling.roi_heads import STOCK_HEADS

WEIGHTS_NAME, CONFIG_NAME = "model.pth", "config.yaml"

_SECTIONS = ("MODEL", "INPUT", "TEST", "VERSION")  # what inference reads
_INSTEAD = "export it with --format torchscript or onnx, which need neither lt_det nor Detectron2"
_OF_FED_LOSS = ".fed_loss_cls_weights"  # a buffer of Detectron2's box predictor, if it trains with USE_FED_LOSS
_ROWS = 64  # random logits by which the scores of a loss are recognized


def stock_config(cfg: CfgNode, model: nn.Module, weights: Path) -> CfgNode:
    """A config with Detectron2's keys only, which builds a model that takes `stock_weights`.

    Args:
        cfg: of the detector.
        model: the detector, with its weights.
        weights: MODEL.WEIGHTS of the new config.

    Raises:
        LtDetError: Detectron2 has no such detector; the message says what it lacks, and what to do instead.
    """
    predictors = dict(_predictors(model))
    _check_parts(model, tuple(f"{name}." for name in predictors))
    kinds = {_kind_of_scores(predictor) for predictor in predictors.values()}
    stock = get_cfg()
    for section in _SECTIONS:
        _copy(cfg, stock, section)
    stock.MODEL.WEIGHTS = str(weights)
    stock.MODEL.ROI_HEADS.NAME = STOCK_HEADS.get(cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_HEADS.NAME)
    if kinds:  # otherwise the heads are Detectron2's already
        stock.MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE = kinds == {"sigmoid"}
    stock.MODEL.ROI_BOX_HEAD.USE_FED_LOSS = False  # of the training: it would need the counts of a training set
    return stock


def stock_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict for Detectron2's heads: no state of losses, and linear classifiers.

    Raises:
        LtDetError: a classifier is not linear.
    """
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_OF_FED_LOSS)}
    state = {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}
    for name, predictor in _predictors(model):
        weight, bias = linear_classifier(predictor)
        replaced = (f"{name}.cls_score.", f"{name}.loss.")
        state = {key: tensor for key, tensor in state.items() if not key.startswith(replaced)}
        state |= {f"{name}.cls_score.weight": weight.cpu(), f"{name}.cls_score.bias": bias.cpu()}
    return state


@torch.no_grad()
def linear_classifier(predictor: LongTailPredictor) -> tuple[Tensor, Tensor]:
    """(C, D) weights and (C,) bias of the logits that the scores are a softmax or a sigmoid of.

    Raises:
        LtDetError: the classifier is not linear.
    """
    classifier = predictor.cls_score
    if type(classifier) not in (nn.Linear, ScaledLinear):
        raise LtDetError(
            f"Detectron2's classifier is linear, and this detector has a {type(classifier).__name__}, which divides by "
            f"the norm of the features; {_INSTEAD}, or train with MODEL.LONG_TAIL.CLASSIFIER linear."
        )
    assert classifier.bias is not None  # heads build these classifiers with a bias
    weight, bias = classifier.weight.detach(), classifier.bias.detach()
    if isinstance(classifier, ScaledLinear):
        weight = classifier.scale[:, None] * weight
    scale = torch.as_tensor(predictor.loss.score_scale, dtype=torch.float64, device=weight.device).expand(len(weight))
    return (scale[:, None] * weight).to(weight.dtype), (scale * bias).to(bias.dtype)


def export_detectron2(model: nn.Module, stock: CfgNode, image: Tensor, folder: Path) -> Exported:
    """Write checkpoint and config to `folder`, and let Detectron2 build and load what they say.

    Args:
        model: the detector.
        stock: its `stock_config`.
        image: (3, H, W) float32.
        folder: for the two files.

    Raises:
        LtDetError: a file cannot be written.
    """
    content = io.BytesIO()
    torch.save({"model": stock_weights(model)}, content)
    with report_full_disk(folder):
        Path(folder, WEIGHTS_NAME).write_bytes(content.getbuffer())
        Path(folder, CONFIG_NAME).write_text(stock.dump())
    cfg = get_cfg()
    cfg.merge_from_file(str(Path(folder, CONFIG_NAME)))
    built = build_model(cfg).eval()
    DetectionCheckpointer(built).load(str(Path(folder, WEIGHTS_NAME)))
    adapter = traceable(built, image)

    @torch.no_grad()
    def predict(image: Tensor) -> Arrays:
        return tuple(output.cpu().numpy() for output in adapter(image))

    return predict


def _predictors(model: nn.Module) -> Iterator[tuple[str, LongTailPredictor]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LongTailPredictor))


def _check_parts(model: nn.Module, within_predictors: tuple[str, ...]) -> None:
    """Raise unless everything but the box predictors is Detectron2's, which builds it from a config alone."""
    heads = tuple(STOCK_HEADS)
    for name, module in model.named_modules():
        origin = type(module).__module__.partition(".")[0]
        if origin in ("detectron2", "torch", "fvcore") or type(module).__name__ in heads:
            continue
        if isinstance(module, LongTailPredictor) or name.startswith(within_predictors):
            continue
        raise LtDetError(
            f"{name or 'The model'} is {origin}'s {type(module).__name__}, which Detectron2 cannot build from a "
            f"config; {_INSTEAD}."
        )


@torch.no_grad()
def _kind_of_scores(predictor: LongTailPredictor) -> str:
    """Whether the scores are the "softmax" or the "sigmoid" of the logits, which `score_scale` multiplies.

    Raises:
        LtDetError: they are neither, or the classifier is not linear.
    """
    weight, _ = linear_classifier(predictor)
    loss, K = predictor.loss, predictor.num_classes
    if len(weight) == K + 1:
        logits = 3 * torch.randn(_ROWS, K + 1, generator=torch.Generator().manual_seed(0)).to(weight.device)
        scores, scaled = loss.scores(logits)[:, :K], torch.as_tensor(loss.score_scale).to(logits) * logits
        for kind, stock in (("softmax", scaled.softmax(dim=1)), ("sigmoid", scaled.sigmoid())):
            if torch.allclose(scores, stock[:, :K], rtol=1e-5, atol=1e-6):
                return kind
    raise LtDetError(
        f"Detectron2's scores are a softmax or a sigmoid of each class, and those of {registered_name(loss)} are "
        f"neither; {_INSTEAD}."
    )


def _copy(source: CfgNode, target: CfgNode, key: str) -> None:
    """Copy a value, of a section the keys that the target has."""
    if isinstance(target[key], CfgNode):
        for name in [name for name in target[key] if name in source[key]]:
            _copy(source[key], target[key], name)
    else:
        target[key] = source[key]
