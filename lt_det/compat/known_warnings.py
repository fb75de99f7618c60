"""Warnings that come with every use of Detectron2 and about which its user can do nothing."""

from __future__ import annotations

import logging
import os
import warnings

# Seen in Detectron2 0.6 and its main branch with torch 2.14: beginning of the message, category, module that is warned.
_WARNINGS: tuple[tuple[str, type[Warning], str], ...] = (
    ("torch.meshgrid: in an upcoming release", UserWarning, r"torch\.functional"),  # of the anchor generator
    ("`broadcast_buffers` is deprecated", FutureWarning, r"detectron2\.engine\.defaults"),
    ("pkg_resources is deprecated", UserWarning, "detectron2|fvcore|iopath"),
    ("unclosed file", ResourceWarning, r"detectron2\.engine\.defaults"),
)
_LOGGED = {  # by torch's loggers: beginning of the message
    "torch.fx._symbolic_trace": "is_fx_tracing will return true",  # Detectron2 asks whether it is traced
    "torch.utils.cpp_extension": "No CUDA runtime is found",  # Detectron2 lists the environment
}
# Workers of a data loader import Detectron2, and no module of lt_det before it, where they are not forked.
_OF_THE_IMPORT = "ignore:`torch.jit.script` is deprecated:FutureWarning"


def silence_known_warnings() -> None:
    """Drop these warnings, here and in processes that this one starts; all others stay.

    See `lt_det.compat.quiet_import` for those of importing Detectron2 here.
    """
    inherited = os.environ.get("PYTHONWARNINGS", "")
    if _OF_THE_IMPORT not in inherited:  # before the user's own, which take precedence by standing behind it
        os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (_OF_THE_IMPORT, inherited)))
    for message, category, module in _WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category, module=module)
    for name in _LOGGED:
        logging.getLogger(name).addFilter(_is_unknown)


def _is_unknown(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_LOGGED[record.name])
