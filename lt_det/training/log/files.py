"""log.txt, on a disk that may be full for some time."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from lt_det.io.log_file import LogFile

_LOGGERS = ("fvcore", "detectron2", "lt_det")
# How Detectron2's longest records begin: the config as written, the whole config, and the network; 900 lines in all.
_ONLY_IN_FILE = ("Contents of args.config_file=", "Running with full config:", "Model:")


def set_up_log_files(output_dir: str) -> None:
    """Detectron2's logs on console and in log.txt, which lose lines on a full disk instead of printing tracebacks.

    The console does not show the config and the network, so that warnings and the first losses are easy to find.

    Call it before Detectron2's `default_setup`, which uses what is set up here.

    Args:
        output_dir: OUTPUT_DIR; at an address such as s3://... Detectron2's own files are used.

    Raises:
        OSError: log.txt cannot be opened.
    """
    rank = comm.get_rank()
    name = "log.txt" + (f".rank{rank}" if rank else "")
    # The same arguments as in `default_setup`: the function remembers them, and adds no second handler.
    setup_logger(output_dir, distributed_rank=rank, name="fvcore")
    setup_logger(output_dir, distributed_rank=rank)
    setup_logger(output_dir, distributed_rank=rank, name="lt_det")
    if "://" in output_dir:
        return
    file = LogFile(Path(output_dir) / name, "lines of the log are lost, and nothing else")
    for logger in map(logging.getLogger, _LOGGERS):
        for handler in logger.handlers:
            if not isinstance(handler, logging.StreamHandler):
                continue
            if getattr(handler.stream, "name", "") == str(Path(output_dir) / name):
                handler.setStream(file)
            elif handler.stream is sys.stdout:
                handler.handleError = _ReportOnce(handler)  # type: ignore[method-assign]
                handler.addFilter(_is_short)
    logging.getLogger(__name__).info("Config and network are printed only in %s.", Path(output_dir) / name)


def _is_short(record: logging.LogRecord) -> bool:
    """Whether a record also goes to the console."""
    return not str(record.msg).startswith(_ONLY_IN_FILE)


class _ReportOnce:
    """In place of a handler's `handleError`, which prints a traceback for each line that it cannot write."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler, self._has_reported = handler, False

    def __call__(self, record: logging.LogRecord) -> Any:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.Handler.handleError(self._handler, record)
        elif not self._has_reported:
            self._has_reported = True
            print(f"warning: the log cannot be printed ({error.strerror}); log.txt has it.", file=sys.stderr)
