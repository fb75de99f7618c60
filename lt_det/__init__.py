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
from lt_det.lazy_imports import lazy_exports

if TYPE_CHECKING:
    from lt_det.data import register_dataset, register_from_config
    from lt_det.modeling import LongTailCascadeROIHeads, LongTailPredictor, LongTailRes5ROIHeads, LongTailROIHeads
    from lt_det.statistics import ClassStats, FrequencyBuckets
    from lt_det.training import get_config
    from lt_det.user_modules import register_config_keys

__version__ = "0.1.0.dev0"  # the only place: pyproject.toml reads it

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
    "get_config",
    "register_config_keys",
    "register_dataset",
    "register_from_config",
]

_ON_DETECTRON2 = ("lt_det.data", "lt_det.inference", "lt_det.modeling", "lt_det.training")
_PEERS = ("torch", "torchvision", "detectron2")  # installed by the user, not by pip for lt_det


def add_lt_config(cfg: Any) -> None:
    """Add lt_det's keys to a Detectron2 config, and register lt_det's ROI heads and mini_lvis with Detectron2.

    Call it between `get_cfg()` and `merge_from_file`. Another call leaves a config that has the keys as it is.

    Raises:
        ImportError: torch or Detectron2 is missing or does not import.
    """
    for module in ("lt_det.data", "lt_det.modeling"):  # importing them registers what they define
        _import_on_detectron2(module, "add_lt_config")
    if "LONG_TAIL" not in cfg.MODEL:
        importlib.import_module("lt_det.config").add_keys(cfg)


def _import_on_detectron2(module: str, wanted: str) -> Any:
    """Import one of lt_det's modules that need Detectron2.

    Raises:
        ImportError: with advice, where torch or Detectron2 is missing or broken. An error in lt_det itself is raised
            as it is.
    """
    try:
        importlib.import_module("lt_det.compat.quiet_import")
    except Exception as error:  # a broken installation can fail in any way: shared libraries, removed names
        if _of_lt_det(error):
            raise
        raise _advice(wanted, error) from error
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _PEERS:  # a version of Detectron2 or torch without this name
            raise _advice(wanted, error) from error
        raise


def _of_lt_det(error: Exception) -> bool:
    """Whether an import failed at one of lt_det's own modules, which is not the fault of Detectron2."""
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] == __name__


def _advice(wanted: str, error: Exception) -> ImportError:
    return ImportError(
        f"lt_det.{wanted} needs torch and Detectron2, which do not import ({error}); run `lt-det doctor`."
    )


def _load(module: str, name: str) -> Any:
    return _import_on_detectron2(module, name) if module in _ON_DETECTRON2 else importlib.import_module(module)


__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ClassStats": "lt_det.statistics",
        "FrequencyBuckets": "lt_det.statistics",
        "LongTailCascadeROIHeads": "lt_det.modeling",
        "LongTailPredictor": "lt_det.modeling",
        "LongTailROIHeads": "lt_det.modeling",
        "LongTailRes5ROIHeads": "lt_det.modeling",
        "get_config": "lt_det.training",
        "register_config_keys": "lt_det.user_modules",
        "register_dataset": "lt_det.data",
        "register_from_config": "lt_det.data",
        # `import lt_det` is enough to use its parts.
        "config": "lt_det.config",
        "data": "lt_det.data",
        "evaluation": "lt_det.evaluation",
        "inference": "lt_det.inference",
        "layers": "lt_det.layers",
        "losses": "lt_det.losses",
        "modeling": "lt_det.modeling",
        "reporting": "lt_det.reporting",
        "statistics": "lt_det.statistics",
        "training": "lt_det.training",
    },
    _load,
)
