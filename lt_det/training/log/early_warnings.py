"""What the checks before a training warn of, in log.txt, which is opened only after them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

_LOGGER = "lt_det"


@contextlib.contextmanager
def early_warnings_in_log() -> Iterator[None]:
    """Decorator of a function that checks a config and then sets up the log: warnings from before are logged, too.

    Otherwise Python would print them without their level, and log.txt would lack them: OUTPUT_DIR is written to only
    once the config is known to be right. If the log is never set up, because of an error, they are printed like that.
    """
    logger = logging.getLogger(_LOGGER)
    kept = _Kept(logger)
    logger.addHandler(kept)
    try:
        yield
    finally:
        logger.removeHandler(kept)
        handlers = kept.new_handlers()
        if not (handlers or logger.hasHandlers()) and logging.lastResort is not None:
            handlers = [logging.lastResort]
        for record in kept.records:
            for handler in handlers:
                handler.handle(record)


class _Kept(logging.Handler):
    """Keeps the warnings of a logger until it has handlers that it had not before."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger, self._before = logger, [*logger.handlers, self]
        self.records: list[logging.LogRecord] = []

    def new_handlers(self) -> list[logging.Handler]:
        return [handler for handler in self._logger.handlers if handler not in self._before]

    def emit(self, record: logging.LogRecord) -> None:
        if not self.new_handlers():
            self.records.append(record)
