"""Whether the weights of a checkpoint are those of a network: all of them, with its shapes, as real numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.terminal import count_of

_FURTHER_HEADS = {"mask": "MODEL.MASK_ON", "keypoint": "MODEL.KEYPOINT_ON"}


def check_numbers(weights: Mapping[str, Any], model: nn.Module, path: str) -> None:
    """Refuse weights that torch would round or cut without an error when it copies them into the model.

    Args:
        weights: by name.
        model: its weights are looked at, also those of frozen normalization; the state of a loss may be counts.
        path: of the checkpoint, for messages.

    Raises:
        LtDetError: complex or whole numbers where the model has floating-point ones.
    """
    for name, own in model.state_dict().items():
        weight = weights.get(name)
        if not isinstance(weight, Tensor) or weight.is_floating_point() or weight.is_quantized:
            continue
        if own.is_floating_point() and (".loss." not in name or weight.is_complex()):
            raise LtDetError(
                f"The checkpoint {path} does not fit this model: {name} has dtype {_dtype(weight)} there "
                f"and {_dtype(own)} here; use the original checkpoint of the training."
            )


def check_fit(incompatible: Any, model: nn.Module, path: str) -> None:
    """Refuse weights of which some were not loaded: the model would have random ones in their place.

    Args:
        incompatible: what Detectron2's checkpointer returns: ``missing_keys`` and ``incorrect_shapes``.
        model: which the weights were loaded into.
        path: of the checkpoint, for messages.

    Raises:
        LtDetError: a weight has another shape or is missing.
    """
    for name, found, wanted in incompatible.incorrect_shapes:
        raise LtDetError(
            f"The checkpoint {path} does not fit this model: {name} is {list(found)} there and {list(wanted)} here; it "
            "was trained with another NUM_CLASSES, loss or network: use its config."
        )
    missing = [name for name in incompatible.missing_keys if name.startswith("roi_heads.")]
    if missing and ".loss." in missing[0]:
        raise LtDetError(
            f"The checkpoint {path} was trained with another loss ({missing[0]} is missing); use its config."
        )
    for part, key in _FURTHER_HEADS.items():
        if missing and all(name.startswith(f"roi_heads.{part}_") for name in missing):
            raise LtDetError(
                f"The checkpoint {path} has no {part} head ({missing[0]} is missing); set {key} to False, as where it "
                "was trained, or give a checkpoint that was trained with it."
            )
    if missing:
        raise LtDetError(
            f"The checkpoint {path} has no trained box head ({missing[0]} is missing); give the checkpoint of a "
            "finished training."
        )
    learned = {name for name, _ in model.named_parameters()}
    learned |= {name for name in model.state_dict() if name.endswith((".running_mean", ".running_var"))}
    missing = [name for name in incompatible.missing_keys if name in learned]
    if missing:
        raise LtDetError(
            f"The checkpoint {path} lacks {count_of(len(missing), 'weight')} of this model (the first is "
            f"{missing[0]}), which would stay random; use the config that it was trained with, or a complete "
            "checkpoint."
        )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
