"""Files that are in the place of an image are recognized."""

import os

import pytest
from PIL import Image

from lt_det.io.not_an_image import other_content, why_unreadable


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "web page"),
        (b"<svg xmlns=''>", "SVG"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1", "HEIC"),
        (b"PK\x03\x04\x14", "zip"),
        (b'{"images": []}', "json"),
        (b"", "empty"),
        (b"no image at all", "not an image"),
    ],
)
def test_other_files(tmp_path, content, words):
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    with pytest.raises(OSError, match="cannot identify") as error:
        Image.open(file)
    assert words in why_unreadable(file, error.value)


def test_images_and_absent_files(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    assert other_content(tmp_path / "a.png") is None
    assert other_content(tmp_path / "absent.png") is None
    os.mkfifo(tmp_path / "pipe.png")
    assert other_content(tmp_path / "pipe.png") is None
