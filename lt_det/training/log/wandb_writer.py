"""The log in Weights & Biases."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.utils.events import EventWriter, TensorboardXWriter

from lt_det.errors import LtDetError
from lt_det.training.log.event_file import EventFileWriter


class WandbWriter(EventWriter):
    """Writes TensorBoard's file, which Weights & Biases mirrors; a checkpoint keeps the id of the W&B run.

    It takes the place of Detectron2's TensorboardXWriter, because a W&B run only mirrors files opened after its start,
    and the run starts with the first values: by then the checkpoint to resume from has been read.
    """

    def __init__(self, project: str, output_dir: str, config: Mapping[str, Any]) -> None:
        """
        Args:
            project: of Weights & Biases.
            output_dir: for TensorBoard's file, and for W&B's in ``wandb/``; its name is the run's.
            config: shown with the run.

        Raises:
            LtDetError: wandb is not installed.
        """
        if importlib.util.find_spec("wandb") is None:
            raise LtDetError(
                f"WANDB_PROJECT (LazyConfig: train.wandb_project) is '{project}', but wandb is not installed; "
                "pip install 'lt-det[wandb]', or leave the key out."
            )
        self._project, self._output_dir, self._config = project, output_dir, dict(config)
        self._run_id = uuid.uuid4().hex[:8]
        self._run: Any = None
        self._tensorboard: TensorboardXWriter | None = None

    def state_dict(self) -> dict[str, str]:
        return {"run_id": self._run_id}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        self._run_id = state["run_id"]

    def write(self) -> None:
        """
        Raises:
            LtDetError: Weights & Biases does not start a run.
        """
        if self._tensorboard is None:
            self._run = self._start()
            self._tensorboard = EventFileWriter(self._output_dir)
        self._tensorboard.write()

    def close(self) -> None:
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._run.finish()

    def _start(self) -> Any:
        import wandb

        try:
            run = wandb.init(
                project=self._project,
                name=Path(self._output_dir).resolve().name,
                dir=self._output_dir,
                id=self._run_id,
                resume="allow",
                config=self._config,
                sync_tensorboard=True,
            )
        except wandb.Error as error:
            raise LtDetError(
                f"Weights & Biases does not start a run ({str(error).strip().rstrip('.')}); log in with `wandb "
                "login`, keep the log on this machine with WANDB_MODE=offline, or leave WANDB_PROJECT out."
            ) from error
        run.define_metric("*", step_metric="global_step")  # the iteration; W&B's own step counts its rows
        return run
