"""Warnings that come with every use of Detectron2 and about which its user can do nothing."""

from __future__ import annotations

import logging
import warnings

# Seen in Detectron2 0.6 and its main branch with torch 2.14: beginning of the message, category, module that is warned.
_WARNINGS: tuple[tuple[str, type[Warning], str], ...] = (
    ("torch.meshgrid: in an upcoming release", UserWarning, r"torch\.functional"),  # of the anchor generator
    ("`broadcast_buffers` is deprecated", FutureWarning, r"detectron2\.engine\.defaults"),
    ("pkg_resources is deprecated", UserWarning, "detectron2|fvcore|iopath"),
    ("unclosed file", ResourceWarning, r"detectron2\.engine\.defaults"),
)
_TRACING = (
    "is_fx_tracing will return true"  # the beginning of what torch logs when Detectron2 asks whether it is traced
)


def silence_known_warnings() -> None:
    """Drop these warnings; all others stay. See `lt_det.compat.quiet_import` for those of the import."""
    for message, category, module in _WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category, module=module)
    logging.getLogger("torch.fx._symbolic_trace").addFilter(_is_unknown)


def _is_unknown(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_TRACING)
