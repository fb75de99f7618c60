"""lt_det: long-tailed object detection for Detectron2.

Importing this is light: it loads neither torch nor Detectron2. Each name below is loaded when it is first used. The ROI
heads, the backbone of mini_lvis and mini_lvis itself are registered with Detectron2 by `add_lt_config`, or when
`lt_det.modeling` and `lt_det.data` are imported. `lt_det.losses` needs torch and numpy only; `lt_det.statistics` and
`lt_det.evaluation` need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lt_det.errors import LtDetError

if TYPE_CHECKING:
    from lt_det.data import register_dataset, register_from_config
    from lt_det.modeling import LongTailCascadeROIHeads, LongTailPredictor, LongTailRes5ROIHeads, LongTailROIHeads
    from lt_det.statistics import ClassStats, FrequencyBuckets

__version__ = "0.1.0.dev0"

__all__ = [
    "ClassStats",
    "FrequencyBuckets",
    "LongTailCascadeROIHeads",
    "LongTailPredictor",
    "LongTailROIHeads",
    "LongTailRes5ROIHeads",
    "LtDetError",
    "__version__",
    "add_lt_config",
    "register_dataset",
    "register_from_config",
]

_MODULE_OF = {  # names that need no Detectron2
    "ClassStats": "lt_det.statistics",
    "FrequencyBuckets": "lt_det.statistics",
}
_DETECTRON2_MODULE_OF = {
    "LongTailCascadeROIHeads": "lt_det.modeling",
    "LongTailPredictor": "lt_det.modeling",
    "LongTailROIHeads": "lt_det.modeling",
    "LongTailRes5ROIHeads": "lt_det.modeling",
    "register_dataset": "lt_det.data",
    "register_from_config": "lt_det.data",
}
# `import lt_det` is enough to use them.
_SUBMODULES = ("config", "evaluation", "layers", "losses", "reporting", "statistics")
_DETECTRON2_SUBMODULES = ("data", "inference", "modeling", "training")
_PEERS = ("torch", "torchvision", "detectron2")  # installed by the user, not by pip for lt_det


def add_lt_config(cfg: Any) -> None:
    """Add lt_det's keys to a Detectron2 config, and register lt_det's ROI heads and mini_lvis with Detectron2.

    Call it between `get_cfg()` and `merge_from_file`.

    Raises:
        ImportError: torch or Detectron2 is missing or does not import.
    """
    for module in ("lt_det.data", "lt_det.modeling"):  # importing them registers what they define
        _import_on_detectron2(module, "add_lt_config")
    importlib.import_module("lt_det.config").add_keys(cfg)


def __getattr__(name: str) -> Any:
    if name in _DETECTRON2_MODULE_OF:
        value = getattr(_import_on_detectron2(_DETECTRON2_MODULE_OF[name], name), name)
    elif name in _MODULE_OF:
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    elif name in _DETECTRON2_SUBMODULES:
        value = _import_on_detectron2(f"lt_det.{name}", name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"lt_det.{name}")
    else:
        raise AttributeError(f"module 'lt_det' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _import_on_detectron2(module: str, wanted: str) -> Any:
    """Import one of lt_det's modules that need Detectron2.

    Raises:
        ImportError: with advice, where torch or Detectron2 is missing or broken. An error in lt_det itself is raised
            as it is.
    """
    try:
        importlib.import_module("lt_det.compat.quiet_import")
    except Exception as error:  # a broken installation can fail in any way: shared libraries, removed names
        raise _advice(wanted, error) from error
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _PEERS:  # a version of Detectron2 or torch without this name
            raise _advice(wanted, error) from error
        raise


def _advice(wanted: str, error: Exception) -> ImportError:
    return ImportError(
        f"lt_det.{wanted} needs torch and Detectron2, which do not import ({error}); run `lt-det doctor`."
    )
