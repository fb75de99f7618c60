"""What a model returns for one image, as `LongTailEvaluator` needs it: Detectron2's Instances."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lt_det.errors import LtDetError

logger = logging.getLogger(__name__)

_FIELDS = ("pred_boxes", "scores", "pred_classes")
_SHORT_FLOATS = ("torch.float16", "torch.bfloat16")  # NumPy lacks the second


class ModelOutputs:
    """Reads the outputs of one model, which predicts masks in all images or in none."""

    def __init__(self, evaluates_masks: bool) -> None:
        """
        Args:
            evaluates_masks: whether masks are evaluated.
        """
        self._sizes_matter = evaluates_masks
        self._with_masks: bool | None = None  # None: nothing has been detected yet

    def instances(self, output: Any, image_id: Any, size: tuple[int, int]) -> Any:
        """The detections in an image, on the CPU, without gradients, and in float32 or float64.

        Args:
            output: of the model: a dictionary with ``instances``.
            image_id: of the image.
            size: its height and width in the ground truth.

        Raises:
            LtDetError: the output is something else, lacks a field, or has a field of another type or shape.
        """
        where = f"The model's output for image {image_id}"
        instances: Any = output.get("instances") if isinstance(output, Mapping) else None
        if not hasattr(instances, "get_fields"):
            raise LtDetError(
                f"{where} is {_description(output)}; LongTailEvaluator needs a dictionary with 'instances' "
                "(Detectron2's Instances), so wrap it, or pass the detections of another framework to LongTailAP."
            )
        missing = [field for field in _FIELDS if not instances.has(field)]
        if missing:
            found = ", ".join(instances.get_fields()) or "nothing"
            raise LtDetError(f"{where} has 'instances' without {missing[0]}, with {found}; add {', '.join(missing)}.")
        instances = instances.to("cpu")
        if len(instances):
            self._check_masks(instances, where, size)
        boxes = _plain(instances.pred_boxes.tensor)
        if boxes.shape[-1] != 4:
            raise LtDetError(
                f"{where} has boxes of {boxes.shape[-1]} numbers; predict x1, y1, x2, y2, without rotation."
            )
        instances.pred_boxes = type(instances.pred_boxes)(boxes)
        instances.scores = _plain(instances.scores)
        if instances.pred_classes.is_floating_point():
            raise LtDetError(
                f"{where} has pred_classes of {instances.pred_classes.dtype}; predict class indices, integers."
            )
        return instances

    def _check_masks(self, instances: Any, where: str, size: tuple[int, int]) -> None:
        """
        Args:
            instances: at least one.
            where: beginning of the message.
            size: height and width of the image in the ground truth.
        """
        with_masks = instances.has("pred_masks")
        if self._with_masks not in (None, with_masks):
            raise LtDetError(
                f"{where} has {'pred_masks' if with_masks else 'no pred_masks'}, unlike those before; predict a mask "
                "for each detection, or none at all."
            )
        self._with_masks = with_masks
        masks: Any = getattr(instances.pred_masks, "tensor", instances.pred_masks) if with_masks else None
        if not hasattr(masks, "is_floating_point"):  # no masks, or a list, which Detectron2's conversion takes, too
            return
        if masks.ndim != 3:
            raise LtDetError(
                f"{where} has pred_masks of the shape {tuple(masks.shape)}; paste them into the image, which gives (N, "
                "height, width), as detectron2.modeling.postprocessing.detector_postprocess does."
            )
        # The conversion to 8 bits, before masks are encoded, makes 0 of 0.9, and 253 of -3.
        if masks.is_floating_point() and bool(((masks != 0) & (masks != 1)).any()):
            raise LtDetError(
                f"{where} has pred_masks from {masks.min().item():.3g} to {masks.max().item():.3g}; threshold them, "
                "such as probabilities at 0.5 or logits at 0."
            )
        if self._sizes_matter and tuple(masks.shape[1:]) != size:
            self._sizes_matter = False  # one warning is enough
            logger.warning(
                "%s has masks of %d x %d pixels, but the image has %d x %d (height x width) in the ground truth: masks "
                "of another size match nothing; resize them to the image, as "
                "detectron2.modeling.postprocessing.detector_postprocess does.",
                where,
                *masks.shape[1:],
                *size,
            )


def _plain(tensor: Any) -> Any:
    tensor = tensor.detach()
    return tensor.float() if str(tensor.dtype) in _SHORT_FLOATS else tensor


def _description(output: Any) -> str:
    if not isinstance(output, Mapping):
        return f"of the type {type(output).__name__}"
    if "instances" in output:
        return f"a dictionary whose 'instances' are of the type {type(output['instances']).__name__}"
    return f"a dictionary with {', '.join(map(str, output)) or 'nothing'}"
