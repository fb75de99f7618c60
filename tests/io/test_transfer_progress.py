"""Progress of transfers."""

import io
import re

import pytest

from lt_det.io import transfer_progress
from lt_det.io.console import SafeConsole
from lt_det.io.transfer_progress import TransferProgress, size_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (384_629, "384.6 kB"),
        (252_907_541, "252.9 MB"),
        (19_336_861_798, "19.34 GB"),
        (123_456_789_012, "123.5 GB"),
    ],
)
def test_sizes(number, text):
    assert size_text(number) == text


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(transfer_progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then(capsys, clock):
    progress = TransferProgress()
    progress.start("train2017.zip", 20_000_000_000, 4_000_000_000)
    progress.advance(1_000_000)
    clock[0] += 40
    progress.advance(3_999_000_000)
    progress.advance(1)
    clock[0] += 1000
    progress.start("lvis.zip", None)
    clock[0] += 31
    progress.advance(62_000)
    progress.finish()
    assert capsys.readouterr().err.splitlines() == [
        "train2017.zip: 8 GB of 20 GB (40%), 100 MB/s, 2 min 0 s left",
        "lvis.zip: 62 kB, 2 kB/s",
    ]


def test_a_terminal_gets_a_bar_with_speed_and_time_left(monkeypatch):
    output = io.StringIO()
    console = SafeConsole(file=output, force_terminal=True, width=80)
    with TransferProgress() as progress:
        monkeypatch.setattr(progress, "_console", console)
        progress.start("train2017.zip: unpacking", 1000)
        progress.advance(500)
        progress.say("connection lost")
        progress.advance(500)
    text = output.getvalue()
    assert "connection lost" in text
    last = [line for line in re.split(r"[\r\n]", text) if "unpacking" in line][-1]
    assert re.search(r"1\.0/1\.0 kB.* left", last)  # on the same line
