"""Files that are none, and names that lead out of a folder."""

import os
import socket

import pytest

from lt_det.io.regular_files import check_regular, inside_folder


def test_pipe_socket_device_and_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        for name, kind in (("pipe.jpg", "pipe"), ("link.jpg", "pipe"), ("socket.jpg", "socket"), (".", "folder")):
            with pytest.raises(OSError, match=f"a {kind}, not a file"):
                check_regular(tmp_path / name)
    with pytest.raises(OSError, match="a device"):
        check_regular("/dev/zero")


def test_files_and_what_is_missing(tmp_path):
    (tmp_path / "a.jpg").touch()
    check_regular(tmp_path / "a.jpg")
    check_regular(tmp_path / "missing.jpg")
    check_regular("detectron2://image.jpg")
    check_regular("a\0b")


@pytest.mark.parametrize("name", ["a.jpg", "b/c.jpg", "./a.jpg", "b/../a.jpg", "{root}/a.jpg", "{real}/a.jpg"])
def test_inside(tmp_path, name):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    found = inside_folder(tmp_path / "root", name.format(root=tmp_path / "root", real=tmp_path / "real"))
    assert found is not None
    assert found.parent.resolve() in (tmp_path / "real", tmp_path / "real" / "b")


@pytest.mark.parametrize("name", ["../a.jpg", "b/../../a.jpg", "/etc/passwd", "{root}2/a.jpg", "", ".", "b/.."])
def test_outside(tmp_path, name):
    assert inside_folder(tmp_path / "root", name.format(root=tmp_path / "root")) is None


def test_parent_of_a_links_target_is_outside(tmp_path):
    (tmp_path / "elsewhere" / "images").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere" / "images")
    assert inside_folder(tmp_path / "root", "link/a.jpg") == tmp_path / "root" / "link" / "a.jpg"
    assert inside_folder(tmp_path / "root", "link/../a.jpg") == tmp_path / "root" / "a.jpg"
