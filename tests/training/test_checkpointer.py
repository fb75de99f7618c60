"""Checkpoints when a process is killed, the disk is full, or a file is corrupt."""

import contextlib
import io
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training import LongTailCheckpointer
from lt_det.training.checkpointer import evaluation_checkpointer
from tests.helpers.gloo import in_processes
from tests.helpers.models import seeded_model, small_config


def save_slowly(folder, moment, saving):
    """Save twice; stop for good at one moment of the second time, and write to the pipe."""
    checkpointer = LongTailCheckpointer(nn.Linear(100, 100), str(folder))
    checkpointer.save("model_0000004", iteration=4)
    save, replace = torch.save, os.replace

    def stop():
        os.write(saving, b"saving")
        time.sleep(60)

    def save_half(data, file):
        buffer = io.BytesIO()
        save(data, buffer)
        content = buffer.getvalue()
        file.write(content[: len(content) // 2])
        file.flush()
        stop()

    def replace_others(source, target):
        if Path(target).name == moment:
            stop()
        replace(source, target)

    if moment == "half written":
        torch.save = save_half
    elif moment == "on its way to the disk":
        os.fsync = lambda file: stop()
    else:
        os.replace = replace_others
    checkpointer.save("model_0000009", iteration=9)


FILL_DISK = """
import resource, sys
from torch import nn
from lt_det.training import LongTailCheckpointer, argument_parser, run

def main(args):
    LongTailCheckpointer(nn.Linear(10, 10), sys.argv[1]).save("model_0000004", iteration=4)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    LongTailCheckpointer(nn.Linear(1000, 1000), sys.argv[1]).save("model_0000009", iteration=9)

sys.exit(run(main, argument_parser().parse_args([])))
"""


def resumed(folder, size=100):
    return LongTailCheckpointer(nn.Linear(size, size), str(folder)).resume_or_load("", resume=True)["iteration"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("half written", ".unfinished-model_0000009.pth"),
        ("on its way to the disk", ".unfinished-model_0000009.pth"),
        ("model_0000009.pth", ".unfinished-model_0000009.pth"),
        ("last_checkpoint", ".unfinished-last_checkpoint"),
    ],
)
def test_sigkill_while_saving(tmp_path, moment, left):
    heard, saving = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=save_slowly, args=(tmp_path, moment, saving))
    process.start()
    os.close(saving)
    assert os.read(heard, 6) == b"saving"  # nothing, if it ended without stopping
    os.close(heard)
    process.kill()
    process.join()
    whole = ["model_0000004.pth"] + ["model_0000009.pth"] * (moment == "last_checkpoint")
    assert names(tmp_path) == sorted([left, "last_checkpoint", *whole])
    assert resumed(tmp_path) == 4
    LongTailCheckpointer(nn.Linear(100, 100), str(tmp_path)).save("model_0000014", iteration=14)
    assert names(tmp_path) == ["last_checkpoint", *whole, "model_0000014.pth"]
    assert resumed(tmp_path) == 14


def test_full_disk_is_one_sentence_and_leaves_the_checkpoint_before(tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FILL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: The checkpoint {tmp_path}/model_0000009.pth")
    assert result.stderr.count("\n") == 1
    for part in ("(File too large)", f"{tmp_path}/model_0000004.pth", "--resume"):
        assert part in result.stderr
    assert names(tmp_path) == ["last_checkpoint", "model_0000004.pth"]
    assert resumed(tmp_path, size=10) == 4


@pytest.fixture
def three(tmp_path):
    """A folder of three checkpoints, the second the newest file."""
    checkpointer = LongTailCheckpointer(nn.Linear(100, 100), str(tmp_path))
    for age, iteration in ((300, 4), (100, 9), (200, 14)):
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        path = tmp_path / f"model_{iteration:07d}.pth"
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    return tmp_path


def truncate(path):
    os.truncate(path, path.stat().st_size - 100)


def make_hole(path):
    """Of the right length, but a block in the middle of the weights is missing."""
    with path.open("rb+") as file:
        file.seek(20_000)
        assert any(file.read(4_000))
        file.seek(20_000)
        file.write(bytes(4_000))


@pytest.mark.parametrize("folder", ["{}", "./{}", "{}/", "./a/../{}"])
def test_the_last_checkpoint_is_used_if_intact(three, caplog, monkeypatch, folder):
    """However OUTPUT_DIR is written; Detectron2's default is ./output."""
    (three.parent / "a").mkdir(exist_ok=True)
    monkeypatch.chdir(three.parent)
    assert resumed(folder.format(three.name)) == 14
    assert "corrupt" not in caplog.text


def rename_an_entry(path):
    """A flipped bit in the name of a tensor's file, which is then no UTF-8."""
    content = path.read_bytes()
    place = content.rindex(b"/data.pkl")
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])


@pytest.mark.parametrize(
    "damage", [truncate, make_hole, rename_an_entry, Path.unlink, lambda path: path.write_bytes(b"")]
)
def test_the_newest_intact_checkpoint_replaces_a_corrupt_one(three, caplog, damage):
    damage(three / "model_0000014.pth")
    assert resumed(three) == 9
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.index(f"{three}/model_0000014.pth") < warning.index(f"{three}/model_0000009.pth")
    truncate(three / "model_0000009.pth")
    assert resumed(three) == 4


def test_an_empty_last_checkpoint(three):
    """The latest iteration counts, and not the newest file."""
    (three / "last_checkpoint").write_text("")
    assert resumed(three) == 14


def test_a_training_that_starts_where_another_ended_says_so(three, tmp_path, caplog):
    for folder, evaluates in ((three, False), (three, True), (tmp_path / "new", False)):
        checkpointer = LongTailCheckpointer(nn.Linear(100, 100), str(folder))
        checkpointer.for_evaluation = evaluates
        checkpointer.resume_or_load("", resume=False)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"OUTPUT_DIR {three} holds another training" in warning
    assert "model_0000014.pth" in warning
    assert "--resume" in warning


def test_nothing_to_resume_is_named(tmp_path, caplog):
    caplog.set_level("INFO")
    LongTailCheckpointer(nn.Linear(2, 2), str(tmp_path)).resume_or_load("", resume=True)
    (record,) = (record for record in caplog.records if "no checkpoint to resume" in record.getMessage())
    assert record.levelname == "INFO"  # jobs that may restart always resume
    caplog.clear()
    with pytest.raises(LtDetError, match="No weights are given"):
        evaluation_checkpointer(nn.Linear(2, 2), str(tmp_path)).resume_or_load("", resume=True)
    (record,) = (record for record in caplog.records if "no checkpoint to resume" in record.getMessage())
    assert record.levelname == "WARNING"


def test_no_intact_checkpoint(three):
    for path in three.glob("*.pth"):
        truncate(path)
    with pytest.raises(LtDetError, match=r"model_0000014\.pth .* no other model_\*\.pth"):
        resumed(three)


@pytest.mark.parametrize("with_checkpoint", [0, 1])
def test_a_folder_that_the_machines_do_not_share(tmp_path, with_checkpoint):
    """Unnoticed, one process would resume while the other starts from scratch."""
    in_processes(2, tmp_path, resume_in_own_folder, tmp_path, with_checkpoint)


def resume_in_own_folder(tmp_path, with_checkpoint):
    folder = tmp_path / f"machine{comm.get_rank()}"
    folder.mkdir()
    checkpointer = LongTailCheckpointer(nn.Linear(2, 2), str(folder), save_to_disk=True)
    if comm.get_rank() == with_checkpoint:
        checkpointer.save("model_0000004", iteration=4)
    match = "Process 1 .* process 0 .*machine1"
    with pytest.raises(LtDetError, match=match) if comm.get_rank() else contextlib.nullcontext():
        checkpointer.resume_or_load("", resume=True)


def test_weights_that_are_not_finite_are_not_saved(three):
    model = nn.Linear(100, 100)
    model.bias.data[3] = torch.inf
    with pytest.raises(LtDetError, match=r"the first of them bias, .*last good checkpoint is .*0000014\.pth"):
        LongTailCheckpointer(model, str(three)).save("model_0000019", iteration=19)
    assert resumed(three) == 14
    assert not (three / "model_0000019.pth").exists()


def test_a_worker_that_dies_while_saving_is_no_full_disk(three, monkeypatch):
    def killed(data, file):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        LongTailCheckpointer(nn.Linear(100, 100), str(three)).save("model_0000019", iteration=19)
    assert resumed(three) == 14


class Store(PathHandler):
    """A store that is no disk: it has complete files only."""

    def __init__(self, folder):
        self.folder = folder

    def _get_supported_prefixes(self):
        return ["store://"]

    def _local(self, path):
        return str(self.folder / path.removeprefix("store://"))

    def _open(self, path, mode="r", buffering=-1, **kwargs):
        return open(self._local(path), mode)

    def _exists(self, path, **kwargs):
        return os.path.exists(self._local(path))

    def _get_local_path(self, path, force=False, **kwargs):
        return self._local(path)


def test_what_is_no_folder_is_left_to_its_handler(tmp_path):
    (tmp_path / "bucket").mkdir()
    PathManager.register_handler(Store(tmp_path), allow_override=True)
    checkpointer = LongTailCheckpointer(nn.Linear(100, 100), "store://bucket")
    checkpointer.save("model_0000004", iteration=4)
    assert names(tmp_path / "bucket") == ["last_checkpoint", "model_0000004.pth"]
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 4


@pytest.mark.parametrize("bad", ["weight", "running_var"])
def test_what_is_not_finite_is_not_saved(tmp_path, bad):
    """In training a norm layer does not use its running statistics, so no loss shows them."""
    model = nn.BatchNorm2d(3)
    checkpointer = LongTailCheckpointer(model, str(tmp_path))
    checkpointer.save("model_0000004", iteration=4)
    model.state_dict()[bad][1] = float("nan")
    with pytest.raises(
        LtDetError, match=rf"infinite or NaN, the first of them {bad}, so .*model_0000009\.pth is not saved"
    ):
        checkpointer.save("model_0000009", iteration=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last_checkpoint", "model_0000004.pth"]


def test_checkpoints_name_the_loss_as_configs_do(tmp_path):
    """Those of earlier versions have the name of its class."""
    model = seeded_model(small_config(loss="seesaw"))
    LongTailCheckpointer(model, str(tmp_path)).save("model_final")
    path = tmp_path / "model_final.pth"
    contents = torch.load(path)
    assert contents["long_tail_box_heads"] == ["seesaw on CosineClassifier"]
    evaluation_checkpointer(model).load(str(path))
    torch.save({**contents, "long_tail_box_heads": ["Seesaw on CosineClassifier"]}, path)
    evaluation_checkpointer(model).load(str(path))
    torch.save({**contents, "long_tail_box_heads": ["EQL on CosineClassifier"]}, path)
    with pytest.raises(LtDetError, match="trained with eql on CosineClassifier, but the config says seesaw"):
        evaluation_checkpointer(model).load(str(path))
