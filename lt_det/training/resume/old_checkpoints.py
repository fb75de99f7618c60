"""Which checkpoints a training keeps."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine.hooks import PeriodicCheckpointer

logger = logging.getLogger(__name__)


class KeepLatest(PeriodicCheckpointer):
    """Detectron2's PeriodicCheckpointer, whose ``max_to_keep`` holds for the whole training.

    Detectron2's own hook counts only the checkpoints of its process. After a resume, the earlier ones would be kept
    forever: the periodic ones, and those saved at an interruption. After a start from scratch, checkpoints of
    another training in the folder are not counted. ``model_final`` and the checkpoint that has just been saved are
    never deleted.
    """

    def __init__(
        self, checkpointer: DetectionCheckpointer, period: int, max_to_keep: int | None = None, **others: Any
    ) -> None:
        """
        Args:
            checkpointer: saves the checkpoints.
            period: iterations between checkpoints.
            max_to_keep: how many to keep, beside ``model_final``; None: all.
            others: other arguments of PeriodicCheckpointer.
        """
        super().__init__(checkpointer, period, **others)
        self._max_to_keep = max_to_keep
        self._kept: list[str] = []

    def before_train(self) -> None:
        super().before_train()
        if self._max_to_keep is not None:
            self._kept = self._saved_before(self.trainer.start_iter)

    def step(self, iteration: int, **kwargs: Any) -> None:
        super().step(iteration, **kwargs)
        if self._max_to_keep is None or (iteration + 1) % self.period:
            return
        self._kept.append(os.path.join(self.checkpointer.save_dir, f"{self.file_prefix}_{iteration:07d}.pth"))
        while len(self._kept) > self._max_to_keep:
            self._delete(self._kept.pop(0))

    def _saved_before(self, start: int) -> list[str]:
        """This training's checkpoints of the iterations before `start`, the earliest first."""
        if start == 0:
            return []
        name = re.compile(rf"{re.escape(self.file_prefix)}_(\d+)\.pth")
        found = {path: name.fullmatch(os.path.basename(path)) for path in self.checkpointer.get_all_checkpoint_files()}
        iterations = {path: int(match[1]) for path, match in found.items() if match and int(match[1]) < start}
        return sorted(iterations, key=lambda path: iterations[path])

    def _delete(self, path: str) -> None:
        """Delete a checkpoint; if that fails, the training continues."""
        try:
            if self.path_manager.exists(path):
                self.path_manager.rm(path)
        except OSError as error:
            logger.warning("The old checkpoint %s cannot be deleted (%s).", path, error.strerror or error)
