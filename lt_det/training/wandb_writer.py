"""The log in Weights & Biases."""

from __future__ import annotations

import importlib.util
import uuid
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.utils.events import EventWriter, get_event_storage

from lt_det.errors import LtDetError


class WandbWriter(EventWriter):
    """Writes what Detectron2's JSONWriter writes, named by the output folder; a checkpoint keeps which run it is.

    The run begins with the first values: by then a checkpoint to resume from has been read.
    """

    def __init__(self, project: str, output_dir: str, config: Mapping[str, Any], window_size: int = 20) -> None:
        """
        Args:
            project: of Weights & Biases.
            output_dir: holds its files, in wandb/.
            config: shown with the run.
            window_size: iterations over which noisy values are medians.

        Raises:
            LtDetError: wandb is not installed.
        """
        if importlib.util.find_spec("wandb") is None:
            raise LtDetError(
                f"The log is to go to the Weights & Biases project '{project}' (WANDB_PROJECT, LazyConfig: "
                "train.wandb_project), but wandb is not installed; pip install 'lt-det[wandb]', or leave the key out."
            )
        self._project, self._output_dir, self._config = project, output_dir, dict(config)
        self._window_size = window_size
        self._run_id = uuid.uuid4().hex[:8]
        self._run: Any = None
        self._last_write = -1

    def state_dict(self) -> dict[str, str]:
        return {"run_id": self._run_id}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        self._run_id = state["run_id"]

    def write(self) -> None:
        """
        Raises:
            LtDetError: Weights & Biases does not start a run.
        """
        rows: defaultdict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(self._window_size).items():
            if iteration > self._last_write:
                rows[iteration][name] = value
        for iteration in sorted(rows):
            self._started().log(rows[iteration], step=iteration)
            self._last_write = iteration

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _started(self) -> Any:
        import wandb

        if self._run is None:
            try:
                self._run = wandb.init(
                    project=self._project,
                    name=Path(self._output_dir).resolve().name,
                    dir=self._output_dir,
                    id=self._run_id,
                    resume="allow",
                    config=self._config,
                )
            except wandb.Error as error:
                raise LtDetError(
                    f"Weights & Biases does not start a run ({str(error).strip().rstrip('.')}); log in with `wandb "
                    "login`, keep the log on this machine with WANDB_MODE=offline, or leave WANDB_PROJECT out."
                ) from error
        return self._run
