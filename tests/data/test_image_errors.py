"""Images of a training that are no files."""

import os
from pathlib import Path

import pytest

from lt_det.data.image_errors import NameUnreadable, UnreadableImage


@pytest.mark.parametrize("key", ["file_name", "sem_seg_file_name"])
def test_pipe_is_refused_before_it_is_opened(tmp_path, key):
    os.mkfifo(tmp_path / "1.png")
    record = {"file_name": str(tmp_path / "0.png"), key: str(tmp_path / "1.png")}
    with pytest.raises(UnreadableImage, match="a pipe, not a file"):
        NameUnreadable(lambda record: Path(record[key]).read_bytes())(record)
