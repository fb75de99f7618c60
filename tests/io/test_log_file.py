"""A log on a full disk loses lines, and nothing else."""

import errno
import os
from pathlib import Path

import pytest

from lt_det.io import log_file
from lt_det.io.log_file import LogFile

FULL = Path("/dev/full")  # a device of Linux: every write fails as on a full disk


def test_lines_are_appended(tmp_path, capsys):
    path = tmp_path / "log.txt"
    path.write_text("before\n")
    file = LogFile(path, "unused", sync=True)
    file.write("müßig \udc80\n")
    file.flush()
    file.close()
    file.write("late\n")
    file.flush()
    assert path.read_text() == "before\nmüßig \\udc80\n"
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_the_loss_is_said_once(capsys):
    file = LogFile(FULL, "that is all")
    for _ in range(5):
        file.write("line\n")
        file.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"warning: {FULL} cannot be written ({os.strerror(errno.ENOSPC)}); that is all."


def test_no_half_line_stays(tmp_path, monkeypatch, capsys):
    """The disk takes three bytes and is full; later there is space again."""
    write, left = os.write, [3]

    def nearly_full(file, content):
        if not left:
            return write(file, content)
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written, left[0] = write(file, content[: left[0]]), 0
        return written

    file = LogFile(tmp_path / "log.txt", "")
    file.write("first\n")
    monkeypatch.setattr(log_file.os, "write", nearly_full)
    file.write("second\n")
    left.clear()
    file.write("third\n")
    left.append(0)
    file.write("fourth\n")
    assert (tmp_path / "log.txt").read_text() == "first\nthird\n"
    assert len(capsys.readouterr().err.splitlines()) == 2
