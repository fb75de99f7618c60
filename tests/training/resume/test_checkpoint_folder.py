"""Which checkpoint a training goes on from when last_checkpoint is missing, damaged or misleading."""

import os
import shutil

import pytest
import torch
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training import LongTailCheckpointer
from lt_det.training.resume.checkpoint_folder import named_checkpoint


def checkpointer(folder):
    return LongTailCheckpointer(nn.Linear(100, 100), str(folder))


def resumed(folder):
    return checkpointer(folder).resume_or_load("", resume=True)["iteration"]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def truncate(path):
    os.truncate(path, path.stat().st_size - 100)


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints; the older the iteration, the newer the file."""
    for age, iteration in ((100, 4), (200, 9), (300, 14)):
        checkpointer(tmp_path).save(f"model_{iteration:07d}", iteration=iteration)
        path = tmp_path / f"model_{iteration:07d}.pth"
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    return tmp_path


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00\x80" * 100),
    "empty": lambda path: path.write_text(""),
    "outside": lambda path: path.write_text("../elsewhere/model_0000019.pth"),
    "absolute": lambda path: path.write_text(str(path.parent.parent / "elsewhere" / "model_0000019.pth")),
    "parent": lambda path: path.write_text(".."),
    "two lines": lambda path: path.write_text("model_0000004.pth\nmodel_0000009.pth"),
    "missing file": lambda path: path.write_text("model_0000019.pth"),
    "long": lambda path: path.write_text("m" * 5000),
    "itself": link_to_itself,
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_the_latest_iteration_replaces_a_damaged_last_checkpoint(folder, tmp_path, caplog, damage):
    elsewhere = tmp_path.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    checkpointer(elsewhere).save("model_0000019", iteration=19)
    damage(folder / "last_checkpoint")
    assert resumed(folder) == 14
    (warning,) = warnings(caplog)
    assert "last_checkpoint" in warning or "model_0000019.pth" in warning
    assert f"{folder}/model_0000014.pth" in warning
    truncate(folder / "model_0000014.pth")
    assert resumed(folder) == 9


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_nothing_starts_over_where_no_checkpoint_is_intact(folder, damage):
    for path in folder.glob("model_*.pth"):
        truncate(path)
    damage(folder / "last_checkpoint")
    with pytest.raises(LtDetError, match=r"(last_checkpoint|missing or corrupt).*model_\*\.pth") as raised:
        resumed(folder)
    assert "\n" not in str(raised.value)


def test_a_line_break_at_the_end_is_part_of_no_name(folder, caplog):
    (folder / "last_checkpoint").write_text("model_0000009.pth\n")
    assert resumed(folder) == 9
    assert not warnings(caplog)


def test_iterations_count_and_not_names(folder):
    """model_final.pth is the latest only if its content says so."""
    shutil.copy(folder / "model_0000009.pth", folder / "model_final.pth")
    (folder / "last_checkpoint").unlink()
    assert resumed(folder) == 14
    checkpointer(folder).save("model_final", iteration=19)
    (folder / "last_checkpoint").unlink()
    assert resumed(folder) == 19


def test_weights_alone_are_no_checkpoint_to_go_on_from(folder):
    torch.save({"model": nn.Linear(100, 100).state_dict()}, folder / "model_weights.pth")
    truncate(folder / "model_0000014.pth")
    assert resumed(folder) == 9
    with_state = LongTailCheckpointer(nn.Linear(100, 100), str(folder), trainer=nn.Linear(1, 1))
    (folder / "last_checkpoint").write_text("model_weights.pth")
    with pytest.raises(LtDetError, match=r"model_weights\.pth .*MODEL\.WEIGHTS"):
        with_state.resume_or_load("", resume=True)


def test_a_checkpoint_that_links_to_itself(folder):
    link_to_itself(folder / "model_0000014.pth")
    assert resumed(folder) == 9


def test_the_checkpoint_resumed_from_is_the_last_good_one_until_the_next(folder):
    truncate(folder / "model_0000014.pth")
    resumes = checkpointer(folder)
    resumes.resume_or_load("", resume=True)
    assert resumes.get_checkpoint_file() == f"{folder}/model_0000009.pth"
    resumes.save("model_0000014", iteration=14)
    assert resumes.get_checkpoint_file() == f"{folder}/model_0000014.pth"


def test_a_training_that_starts_says_what_it_replaces_without_a_last_checkpoint_too(folder, caplog):
    (folder / "last_checkpoint").unlink()
    checkpointer(folder).resume_or_load("", resume=False)
    (warning,) = warnings(caplog)
    for part in (f"OUTPUT_DIR {folder}", "model_0000014.pth", "config.yaml", "--resume"):
        assert part in warning


def test_an_empty_folder_holds_no_checkpoint(tmp_path, caplog):
    assert checkpointer(tmp_path).resume_or_load("", resume=True) == {}
    assert checkpointer(tmp_path / "missing").resume_or_load("", resume=True) == {}
    assert not warnings(caplog)
    assert named_checkpoint(tmp_path) is None


def test_a_folder_that_is_gone_is_no_full_disk(folder):
    saves = checkpointer(folder)
    shutil.rmtree(folder)
    with pytest.raises(LtDetError, match=rf"model_0000019\.pth .*No such file.*check the folder {folder};") as raised:
        saves.save("model_0000019", iteration=19)
    assert "space" not in str(raised.value)
