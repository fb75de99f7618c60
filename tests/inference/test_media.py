"""Inputs of the demo that are no files."""

import os

import pytest

from lt_det.inference.media import UnreadableMedia, VideoReader, read_image


@pytest.mark.parametrize("read", [read_image, VideoReader])
def test_pipe_is_refused_before_it_is_opened(tmp_path, read):
    os.mkfifo(tmp_path / "1.mp4")
    with pytest.raises(UnreadableMedia, match=r"1\.mp4 cannot be read.*a pipe, not a file"):
        read(tmp_path / "1.mp4")
