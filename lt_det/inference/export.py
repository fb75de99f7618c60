"""A trained detector as one file that runs without lt_det and Detectron2: TorchScript or ONNX."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.export import TracingAdapter
from detectron2.modeling import GeneralizedRCNN
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_det.errors import LtDetError, writing_advice
from lt_det.statistics.buckets import FrequencyBuckets

Arrays = tuple[NDArray[Any], ...]
Exported = Callable[[Tensor], Arrays]  # (3, H, W) float32 to the arrays of `output_names`

_OPSET = 16  # the first whose RoiAlign matches Detectron2's; Detectron2's own STABLE_ONNX_OPSET_VERSION is 11
# The exporter that traces: the only one before torch 2.5, one of two since.
_BY_TRACING: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
# Tolerances for another rounding, by other kernels or another order of operations: pixels of a corner, and score.
_PIXELS, _SCORE = 0.05, 1e-3


def traceable(model: nn.Module, image: Tensor) -> TracingAdapter:
    """The model as a function from one (3, H, W) image to a tuple of tensors, as Detectron2 exports it.

    Boxes are in pixels of that image and masks are not yet pasted (``do_postprocess=False``).

    Raises:
        LtDetError: the model is not a GeneralizedRCNN.
    """
    if not isinstance(model, GeneralizedRCNN):
        raise LtDetError(f"{type(model).__name__} cannot be exported; MODEL.META_ARCHITECTURE must be GeneralizedRCNN.")

    def inference(model: GeneralizedRCNN, inputs: list[dict[str, Tensor]]) -> list[dict[str, Any]]:
        return [{"instances": model.inference(inputs, do_postprocess=False)[0]}]

    adapter = TracingAdapter(model.eval(), [{"image": image}], inference).eval()
    adapter(image)  # sets outputs_schema
    return adapter


def output_names(adapter: TracingAdapter) -> list[str]:
    """Names of the output tensors, in order: pred_boxes, pred_classes, ..., scores, image_size."""
    instances = adapter.outputs_schema.schemas[0].schemas[0]
    return [*instances.keys, "image_size"]


def export_torchscript(adapter: TracingAdapter, image: Tensor, file: Path) -> Exported:
    """Write the traced model, and load it from the file.

    Raises:
        LtDetError: the file cannot be written.
    """
    content = io.BytesIO()  # torch aborts the process if it writes to a full disk itself
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a hundred warnings that a Python number becomes a constant
        traced = torch.jit.trace(adapter, (image,), check_trace=False)  # `difference` checks more
        torch.jit.save(traced, content)
        with report_full_disk(file):
            file.write_bytes(content.getbuffer())
        loaded = torch.jit.load(str(file))

    def predict(image: Tensor) -> Arrays:
        with torch.no_grad():
            return tuple(output.cpu().numpy() for output in loaded(image))

    return predict


def export_onnx(adapter: TracingAdapter, image: Tensor, file: Path) -> Exported:
    """As `export_torchscript`, for ONNX Runtime.

    It uses torch's older, tracing exporter, because `torch.export` does not support Detectron2's R-CNN.

    Raises:
        LtDetError: onnx or onnxruntime is missing, or the file cannot be written.
    """
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise LtDetError(f"ONNX needs {' and '.join(missing)}; run `pip install 'lt-det[export]'`.")
    import onnxruntime

    names = output_names(adapter)
    axes: dict[str, dict[int, str]] = {name: {0: "detections"} for name in names[:-1]}
    axes["image"] = {1: "height", 2: "width"}
    with torch.no_grad(), warnings.catch_warnings(), report_full_disk(file):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            adapter,
            (image,),
            str(file),
            **_BY_TRACING,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=names,
            dynamic_axes=axes,
        )
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda image: tuple(session.run(None, {"image": image.cpu().numpy()}))


FORMATS = {"torchscript": ("model.ts", export_torchscript), "onnx": ("model.onnx", export_onnx)}


@dataclass(frozen=True)
class ExportDifference:
    """Differences between an exported model and the eager one on an image.

    Attributes:
        eager, exported: number of detections of each.
        unmatched: detections without a counterpart in the other model.
        pixels, score: largest difference of a corner, and of a score or mask, among matched detections.
    """

    eager: int
    exported: int
    unmatched: int
    pixels: float
    score: float


def difference(adapter: TracingAdapter, exported: Exported, image: Tensor) -> ExportDifference:
    """Match detections of the same class whose corners differ by at most 0.05 pixels, and scores and masks by 0.001.

    Detections with nearly equal scores may be in any order, so they are not compared by position.
    """
    names = output_names(adapter)
    mine = dict(zip(names, (output.cpu().numpy() for output in adapter(image)), strict=True))
    theirs = dict(zip(names, exported(image), strict=True))
    free = np.ones(len(theirs["scores"]), dtype=bool)
    pixels, score, unmatched = 0.0, 0.0, 0
    for place in range(len(mine["scores"])):
        corners = np.abs(theirs["pred_boxes"] - mine["pred_boxes"][place]).max(axis=1, initial=0)
        scores = np.abs(theirs["scores"] - mine["scores"][place])
        if "pred_masks" in mine:
            masks = np.abs(theirs["pred_masks"] - mine["pred_masks"][place])
            scores = np.maximum(scores, masks.max(axis=(1, 2, 3), initial=0))
        same = theirs["pred_classes"] == mine["pred_classes"][place]
        near = np.flatnonzero(free & same & (corners <= _PIXELS) & (scores <= _SCORE))
        if len(near) == 0:
            unmatched += 1
            continue
        nearest = near[np.argmin(corners[near])]
        free[nearest] = False
        pixels, score = max(pixels, float(corners[nearest])), max(score, float(scores[nearest]))
    return ExportDifference(len(mine["scores"]), len(theirs["scores"]), unmatched + int(free.sum()), pixels, score)


def description(
    cfg: CfgNode, adapter: TracingAdapter, names: Sequence[str], buckets: FrequencyBuckets | None
) -> dict[str, Any]:
    """What a program that runs the exported model needs to know."""
    return {
        "classes": list(names),
        "buckets": None
        if buckets is None
        else [buckets.names[bucket] if bucket >= 0 else None for bucket in buckets.assignment],
        "input": {
            "layout": "channels, height, width",
            "type": "float32, " + ("Y from 0 to 1" if cfg.INPUT.FORMAT.startswith("YUV") else "0 to 255"),
            "channels": cfg.INPUT.FORMAT,
            "normalized_inside": {"mean": list(cfg.MODEL.PIXEL_MEAN), "std": list(cfg.MODEL.PIXEL_STD)},
            "shorter_side": cfg.INPUT.MIN_SIZE_TEST,
            "longer_side_at_most": cfg.INPUT.MAX_SIZE_TEST,
        },
        "outputs": output_names(adapter),
        "score_threshold": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
        "loss": cfg.MODEL.LONG_TAIL.LOSS.NAME,
        "device": cfg.MODEL.DEVICE,
    }


def write_description(file: Path, content: dict[str, Any]) -> None:
    """Write it as json, one line per entry.

    Raises:
        LtDetError: the file cannot be written.
    """
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    with report_full_disk(file):
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@contextlib.contextmanager
def report_full_disk(file: Path) -> Iterator[None]:
    """Context that explains why a file cannot be written.

    Raises:
        LtDetError: it cannot.
    """
    try:
        yield
    except OSError as error:
        reason, advice = error.strerror or error, writing_advice(error)
        raise LtDetError(f"{file} cannot be written ({reason}); {advice}.") from error
