"""Where a training's log goes: the console, metrics.json, TensorBoard, Weights & Biases."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.engine import default_writers
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter, get_event_storage
from fvcore.common.checkpoint import Checkpointer

from lt_det.compat.detectron2 import write_json_lines_to
from lt_det.io.log_file import LogFile
from lt_det.training.hooks.metric import is_of_validation
from lt_det.training.log.event_file import EventFileWriter
from lt_det.training.log.wandb_writer import WandbWriter

logger = logging.getLogger(__name__)

_BY_CLASS = re.compile(r"(stage\d+/)?(accuracy|loss_state/\w+)(?:/(.+))?")
_SINGLE = {
    "time": "time: {:.4f}",
    "data_time": "data_time: {:.4f}",
    "data_time_share": "data_time_share: {:.0%}",
    "images_per_second": "images/s: {:.1f}",
    "lr": "lr: {:.5g}",
    "max_mem": "max_mem: {:.0f}M",
}


def build_writers(
    output_dir: str, max_iter: int, checkpointer: Checkpointer, wandb_project: str, config: Mapping[str, Any]
) -> list[EventWriter]:
    """Detectron2's writers, with lt_det's console line and Weights & Biases.

    Args:
        output_dir: for metrics.json and TensorBoard's file.
        max_iter: iterations of the training.
        checkpointer: keeps the id of the W&B run, so that a resumed training continues it.
        wandb_project: project of Weights & Biases; empty: no W&B.
        config: shown in W&B.

    On a full disk values are lost, and the training goes on.

    Raises:
        LtDetError: there is a project, but wandb is not installed.
    """
    replacements: list[EventWriter] = [ConsoleWriter(max_iter)]
    replaced: tuple[type[EventWriter], ...] = (CommonMetricPrinter,)
    if wandb_project:
        wandb = WandbWriter(wandb_project, output_dir, config)
        checkpointer.add_checkpointable("wandb_run", wandb)
        replacements.append(wandb)
        replaced += (TensorboardXWriter,)
    stock = [writer for writer in default_writers(output_dir, max_iter) if not isinstance(writer, replaced)]
    return [*replacements, *(_on_full_disk(writer, output_dir) for writer in stock)]


def _on_full_disk(writer: EventWriter, output_dir: str) -> EventWriter:
    """A writer that loses values on a full disk, instead of ending the training."""
    if "://" in output_dir:
        return writer
    if isinstance(writer, JSONWriter):
        metrics = LogFile(Path(output_dir) / "metrics.json", "metrics are lost, and the training goes on", sync=True)
        write_json_lines_to(writer, metrics)
    return EventFileWriter(output_dir) if type(writer) is TensorboardXWriter else writer


class ConsoleWriter(CommonMetricPrinter):
    """One line: losses, accuracy and loss state by bucket, times, learning rate, memory.

    Losses and times are medians over the last 20 iterations. A bucket's value is shown only if it was measured in this
    iteration.
    """

    def write(self) -> None:
        storage = get_event_storage()
        of_a_step = [storage.latest()[name][1] for name in ("lr", "total_loss") if name in storage.latest()]
        ended_early = bool(of_a_step) and max(of_a_step) < storage.iter
        if storage.iter == self._max_iter or ended_early:  # after the training, for the other writers
            return
        if self._last_write and self._last_write[0] == storage.iter:
            # A training that is stopped writes a second time. Detectron2 would then divide by zero iterations, and
            # that error would hide why the training stopped.
            return
        smoothed = storage.latest_with_smoothing_hint(self._window_size)
        current = {name: value for name, (value, iteration) in smoothed.items() if iteration == storage.iter}
        eta = self._get_eta(storage)
        parts = [f"eta: {eta}"] if eta else []
        parts.append(f"iter: {storage.iter}")
        parts += [f"{name}: {value:.4g}" for name, (value, _) in smoothed.items() if _is_loss(name)]
        parts += _by_class(current)
        parts += [text.format(current[name]) for name, text in _SINGLE.items() if name in current]
        self.logger.info(" " + "  ".join(parts))


def _is_loss(name: str) -> bool:
    return "[metric]" in name or ("loss" in name and "loss_state/" not in name and not is_of_validation(name))


def _by_class(values: Mapping[str, float]) -> list[str]:
    """``stage0/accuracy: rare 0.1 common 0.4`` from ``stage0/accuracy/rare`` and so on."""
    lines: dict[str, str] = {}
    for name, value in values.items():
        if match := _BY_CLASS.fullmatch(name):
            stage, what, bucket = match.groups(default="")
            title = f"{stage}{what.removeprefix('loss_state/')}:"
            lines[title] = f"{lines.get(title, title)} {bucket}{' ' if bucket else ''}{value:.3g}"
    return list(lines.values())
