"""TensorBoard's file, on a disk that may fill up."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Iterator

from detectron2.utils.events import TensorboardXWriter

logger = logging.getLogger(__name__)


class EventFileWriter(TensorboardXWriter):
    """Detectron2's writer for TensorBoard, except that a full disk ends the curves and not the training."""

    _has_failed = False

    def write(self) -> None:
        with self._ending_on_full_disk():
            if not self._has_failed:
                super().write()

    def close(self) -> None:
        with self._ending_on_full_disk():
            super().close()

    @contextlib.contextmanager
    def _ending_on_full_disk(self) -> Iterator[None]:
        _silence_writing_threads()
        try:
            yield
        except OSError as error:
            if not self._has_failed:
                logger.warning(
                    f"TensorBoard's file cannot be written ({error.strerror}), and ends here; the training goes on "
                    "without it."
                )
            self._has_failed = True


@functools.cache
def _silence_writing_threads() -> None:
    """TensorBoard writes in a thread, which prints a traceback of an error that its writer then raises, too."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        in_thread = type(args.thread).__module__.startswith("tensorboard.")
        if not (in_thread and isinstance(args.exc_value, OSError)):
            before(args)

    threading.excepthook = hook
