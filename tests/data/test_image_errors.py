"""Images of a training that are no files."""

import os
from pathlib import Path

import pytest
from detectron2.data import DatasetMapper
from detectron2.data.transforms import ResizeShortestEdge
from PIL import Image

from lt_det.data.image_errors import FailedMapper, NameUnreadable, UnreadableImage


@pytest.mark.parametrize("key", ["file_name", "sem_seg_file_name"])
def test_pipe_is_refused_before_it_is_opened(tmp_path, key):
    os.mkfifo(tmp_path / "1.png")
    record = {"file_name": str(tmp_path / "0.png"), key: str(tmp_path / "1.png")}
    with pytest.raises(UnreadableImage, match="a pipe, not a file"):
        NameUnreadable(lambda record: Path(record[key]).read_bytes())(record)


@pytest.mark.parametrize(
    ("orientation", "size", "words"),
    [
        (6, (64, 48), r"64 x 48 pixels, which its EXIF orientation turns to 48 x 64, but 64 x 48 .*exchange 'width'"),
        (1, (32, 24), r"64 x 48 pixels, but 32 x 24 .*pixels of the file"),
        (3, (48, 64), r"64 x 48 pixels, but 48 x 64 .*pixels of the file"),
    ],
)
def test_image_of_another_size(tmp_path, orientation, size, words):
    image, exif = Image.new("RGB", (64, 48)), Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / "0.jpg", exif=exif)
    record = {"file_name": str(tmp_path / "0.jpg"), "width": size[0], "height": size[1], "annotations": []}
    mapper = NameUnreadable(DatasetMapper(is_train=True, augmentations=[], image_format="BGR"))
    with pytest.raises(UnreadableImage, match=rf"{tmp_path}/0\.jpg does not have the size .*{words}"):
        mapper(record)


def test_turned_image_whose_annotations_are_turned(tmp_path):
    image, exif = Image.new("RGB", (64, 48)), Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "0.jpg", exif=exif)
    record = {"file_name": str(tmp_path / "0.jpg"), "width": 48, "height": 64, "annotations": []}
    mapper = NameUnreadable(DatasetMapper(is_train=True, augmentations=[], image_format="BGR"))
    assert mapper(record)["image"].shape == (3, 64, 48)


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000)])
def test_image_that_is_too_narrow_to_be_resized(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "0.png")
    record = {"file_name": str(tmp_path / "0.png"), "width": size[0], "height": size[1], "annotations": []}
    for longest in (1333, 3000):
        augmentations = [ResizeShortestEdge(800, longest)]
        mapper = NameUnreadable(DatasetMapper(is_train=True, augmentations=augmentations, image_format="BGR"))
        if longest == 3000:
            assert mapper(record)["image"].shape == (3, size[1], size[0])
            continue
        with pytest.raises(
            FailedMapper, match=rf"0\.png of {size[0]} x {size[1]} pixels is too narrow.*MAX_SIZE_TRAIN"
        ):
            mapper(record)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1", r"a\.png is a Git LFS pointer, .*; run `git lfs pull`\.$"),
        (b"no image; at all", r"a\.png cannot be read \(not an image\); download it again, or remove it .*file\.$"),
    ],
)
def test_what_stands_in_the_place_of_an_image(tmp_path, content, words):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImage, match=words):
        NameUnreadable(lambda record: Image.open(record["file_name"]))({"file_name": str(tmp_path / "a.png")})
