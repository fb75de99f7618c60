"""Locks: one process at a time, and never through a link."""

import multiprocessing

import pytest

from lt_det.errors import LtDetError
from lt_det.io.lock import file_lock, folder_lock


def test_another_holder_is_named(tmp_path):
    folder = tmp_path / "new"
    for _ in range(2):  # the lock can be taken again
        with (
            folder_lock(folder, "bake-off"),
            pytest.raises(LtDetError, match=r"Another bake-off .*new"),
            folder_lock(folder, "bake-off"),
        ):
            pass


def test_waiting(tmp_path):
    context = multiprocessing.get_context("fork")
    held, waits, noted = context.Event(), context.Event(), context.SimpleQueue()

    def work():
        held.wait(60)
        with file_lock(tmp_path / "lock", waits.set):
            noted.put("other")

    process = context.Process(target=work)  # before the lock is taken, which it would inherit
    process.start()
    with file_lock(tmp_path / "lock", waits.clear):
        held.set()
        assert waits.wait(60)
        noted.put("first")
    process.join(60)
    assert [noted.get(), noted.get()] == ["first", "other"]


def test_link(tmp_path):
    (tmp_path / "victim").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(LtDetError, match=r"\.lock is a link"), folder_lock(tmp_path, "bake-off"):
        pass
    assert (tmp_path / "victim").read_text() == "kept"
