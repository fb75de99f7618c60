"""The progress bar of long loops."""

import threading

import pytest

from lt_det.cli.console import working
from lt_det.io.progress import progress_bar

LABEL = "{0}[red].mp4"  # a file name, neither a format nor markup


def test_the_bar_is_on_standard_error(capsys):
    with progress_bar(LABEL, 2) as advance:
        advance()
        advance()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert LABEL in printed.err
    assert "2/2" in printed.err


@pytest.mark.parametrize("options", [{"shown": False}, {"transient": True}])  # this is no terminal
def test_no_bar(capsys, options):
    with progress_bar(LABEL, 1, **options) as advance:
        advance()
    assert capsys.readouterr() == ("", "")


def test_no_thread_is_needed_without_a_terminal(capsys, monkeypatch):
    def fails(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    with working("Reading"), progress_bar(LABEL, 1) as advance:
        advance()
    assert "1/1" in capsys.readouterr().err
