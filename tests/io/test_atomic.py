"""Atomic writing of files."""

import pytest

from lt_det.errors import LtDetError
from lt_det.io.atomic import check_folder, whole_file, write_whole


def test_an_error_keeps_the_old_file(tmp_path):
    page = tmp_path / "page.html"
    write_whole(page, "älter")

    def write_half():
        with whole_file(page) as unfinished:
            assert unfinished.suffix == ".html"  # writers choose their format by the suffix
            unfinished.write_text("half of")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert page.read_text(encoding="utf-8") == "älter"
    write_whole(page, "newer")
    assert page.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [page]


def test_two_writers_at_once(tmp_path):
    """As two processes with the same id on two machines; the last one to finish wins."""
    page = tmp_path / "page.html"
    with whole_file(page) as first:
        with whole_file(page) as second:
            first.write_text("first")
            second.write_text("second")
        assert page.read_text() == "second"
    assert page.read_text() == "first"
    assert list(tmp_path.iterdir()) == [page]


def test_folders(tmp_path):
    check_folder(tmp_path / "a" / "b", "--out")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(LtDetError, match=r"--out .*file/x.*Not a directory"):
        check_folder(tmp_path / "file" / "x", "--out")
