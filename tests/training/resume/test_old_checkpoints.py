"""SOLVER.MAX_TO_KEEP: which checkpoints remain in OUTPUT_DIR."""

import contextlib
import os
import signal

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import HookBase, TrainerBase
from torch import nn

from lt_det import add_lt_config
from lt_det.config import check_max_to_keep
from lt_det.errors import LtDetError
from lt_det.training import LongTailCheckpointer
from lt_det.training.preemption import StopOnInterrupt, Stopped
from lt_det.training.resume.old_checkpoints import KeepLatest


class Trainer(TrainerBase):
    def run_step(self):
        pass


class InterruptAt(HookBase):
    def __init__(self, iteration):
        self._iteration = iteration

    def after_step(self):
        if self.trainer.iter == self._iteration:
            os.kill(os.getpid(), signal.SIGUSR1)


def train(folder, first, last, keep, interrupt_at=-1):
    """Iterations `first` to `last` with a checkpoint after every second; return the names of all checkpoints."""
    folder.mkdir(exist_ok=True)
    trainer, checkpointer = Trainer(), LongTailCheckpointer(nn.Linear(1, 1), str(folder))
    hooks = [KeepLatest(checkpointer, 2, keep), InterruptAt(interrupt_at), StopOnInterrupt(checkpointer)]
    trainer.register_hooks(hooks)
    with contextlib.suppress(Stopped):
        trainer.train(first, last + 1)
    assert torch.load(checkpointer.get_checkpoint_file())["iteration"] == trainer.iter - (trainer.iter > last)
    return sorted(path.name for path in folder.glob("*.pth"))


def numbered(*iterations):
    return [f"model_{iteration:07d}.pth" for iteration in iterations]


def test_the_latest_checkpoints_and_the_final_one_remain(tmp_path):
    assert train(tmp_path / "all", 0, 9, None) == [*numbered(1, 3, 5, 7, 9), "model_final.pth"]
    assert train(tmp_path / "two", 0, 9, 2) == [*numbered(7, 9), "model_final.pth"]
    assert train(tmp_path / "one", 0, 8, 1) == [*numbered(7), "model_final.pth"]


def test_a_resumed_training_counts_the_checkpoints_before_it(tmp_path):
    """Also the one that an interruption saved; there may be more of them than are kept from now on."""
    assert train(tmp_path, 0, 19, 3, interrupt_at=8) == numbered(3, 5, 7, 8)
    assert train(tmp_path, 9, 19, 2, interrupt_at=10) == numbered(8, 9, 10)
    assert train(tmp_path, 11, 19, 2) == [*numbered(17, 19), "model_final.pth"]


def test_checkpoints_of_another_training_are_not_counted(tmp_path):
    train(tmp_path, 0, 6, None)
    (tmp_path / "model_best.pth").write_bytes(b"")
    later = [*numbered(1, 3, 5), "model_best.pth", "model_final.pth"]
    assert train(tmp_path, 0, 2, 1) == later
    resumed = [*numbered(3), "model_best.pth", "model_final.pth"]
    assert train(tmp_path, 3, 4, 1) == [*numbered(3, 5), *resumed[1:]]


def test_a_checkpoint_that_cannot_be_deleted_does_not_end_the_training(tmp_path, caplog, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "remove", fail)
    assert train(tmp_path, 0, 4, 1) == [*numbered(1, 3), "model_final.pth"]
    assert "model_0000001.pth" in caplog.text


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "all"])
def test_values_that_are_no_number_of_checkpoints_are_refused(number):
    with pytest.raises(LtDetError, match=rf"SOLVER.MAX_TO_KEEP is {number!r}"):
        check_max_to_keep(number, "SOLVER.MAX_TO_KEEP")


def test_all_are_kept_by_default():
    cfg = get_cfg()
    add_lt_config(cfg)
    assert cfg.SOLVER.MAX_TO_KEEP is None
