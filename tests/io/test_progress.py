"""The progress bar of long loops."""

import pytest

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
