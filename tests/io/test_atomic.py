"""Atomic writing of files."""

import errno
import os
import shutil

import pytest

from lt_det.errors import LtDetError
from lt_det.io.atomic import atomic_file, atomic_files, check_folder, write_atomically, writing_to


def test_an_error_keeps_the_old_file(tmp_path):
    page = tmp_path / "page.html"
    write_atomically(page, "älter")

    def write_half():
        with atomic_file(page) as unfinished:
            assert unfinished.suffix == ".html"  # writers choose their format by the suffix
            unfinished.write_text("half of")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert page.read_text(encoding="utf-8") == "älter"
    write_atomically(page, "newer")
    assert page.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [page]


def test_two_writers_at_once(tmp_path):
    """As two processes with the same id on two machines; the last one to finish wins."""
    page = tmp_path / "page.html"
    with atomic_file(page) as first:
        with atomic_file(page) as second:
            first.write_text("first")
            second.write_text("second")
        assert page.read_text() == "second"
    assert page.read_text() == "first"
    assert list(tmp_path.iterdir()) == [page]


def test_several_files_are_replaced_together_or_not_at_all(tmp_path):
    (tmp_path / "model").write_text("old")

    def write(error=None):
        with atomic_files(tmp_path, ("model", "config")) as unfinished:
            assert unfinished.parent == tmp_path
            for name in ("model", "config", "not wanted"):
                (unfinished / name).write_text("new")
            if error is not None:
                raise error

    with pytest.raises(OSError, match="No space left"):
        write(OSError(28, "No space left on device"))
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model").read_text() == "old"
    write()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"model": "new", "config": "new"}


def test_folders(tmp_path):
    check_folder(tmp_path / "a" / "b", "--out")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(LtDetError, match=r"--out .*file/x.*Not a directory"):
        check_folder(tmp_path / "file" / "x", "--out")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with writing_to(tmp_path / "a" / "b", "The report"):
        (tmp_path / "a" / "b" / "page").write_text("text")
    full = pytest.raises(
        LtDetError, match=r"^The report .*b \(No space left on device\); free space.* another folder\.$"
    )
    with full, writing_to(tmp_path / "a" / "b", "The report"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("folder", ["page", "page/c/d"])
def test_a_file_in_the_way_is_named(tmp_path, folder):
    (tmp_path / "page").touch()
    refused = pytest.raises(LtDetError, match=rf"; move {tmp_path}/page out of the way\.$")
    with refused, writing_to(tmp_path / folder, "The report", elsewhere=""):
        pytest.fail("the folder does not exist")


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "page").mkdir()
    refused = pytest.raises(LtDetError, match=rf"; move {tmp_path}/page out of the way or choose another --out\.$")
    with refused, writing_to(tmp_path, "The report", "another --out"):
        write_atomically(tmp_path / "page", "text")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EDQUOT, "free space there or choose another folder"),
        (errno.EACCES, "correct the permissions or choose another folder"),
        (errno.EROFS, "mount .* or choose another folder"),
        (errno.EMFILE, "allow .*ulimit -n.* or choose another folder"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_the_advice_fits_the_error(tmp_path, number, advice):
    with pytest.raises(LtDetError, match=rf"\); {advice}\.$"), writing_to(tmp_path, "The report"):
        raise OSError(number, os.strerror(number))


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(LtDetError, match="; shorten the name"):
        check_folder(tmp_path / ("x" * 300), "--out")


def test_a_disk_that_is_full_from_the_start(small_disk):
    """An empty file has room there."""
    check_folder(small_disk, "OUTPUT_DIR")
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    (small_disk / "empty").touch()
    with pytest.raises(LtDetError, match=rf"OUTPUT_DIR {small_disk} .*No space left on device.*free space"):
        check_folder(small_disk, "OUTPUT_DIR")
