"""Images of more than 8 bits per channel are scaled by one rule, or refused."""

import numpy as np
import pytest
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T
from PIL import Image

import lt_det.data  # noqa: F401 - Detectron2's reader follows the rule from here on
from lt_det.inference.media import UnreadableMedia, read_image
from lt_det.io import images
from lt_det.io.images import UnsupportedPixels, to_8_bits

VALUES = np.array([[0, 255, 256, 511, 4095, 65535]], dtype=np.uint16)
SCALED = [0, 0, 1, 1, 15, 255]


def saved(file, pixels):
    Image.fromarray(pixels).save(file)
    return file


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_everywhere_the_same(tmp_path, name):
    file = saved(tmp_path / name, VALUES)
    assert read_image(file)[0, :, 0].tolist() == SCALED
    record = {"file_name": str(file), "height": 1, "width": 6, "annotations": []}
    mapper = DatasetMapper(is_train=True, augmentations=[T.NoOpTransform()], image_format="BGR")
    assert mapper(record)["image"][:, 0].tolist() == [SCALED] * 3
    assert detection_utils.read_image(str(file), "L")[0, :, 0].tolist() == SCALED
    assert detection_utils.read_image(str(file)).max() == 65535  # without a format, as in the file


def test_8_bit_values_in_a_larger_type_are_kept():
    small = VALUES[:, :2]
    for pixels in (small, small.astype(np.int32), small.astype(np.float32)):
        assert np.asarray(to_8_bits(Image.fromarray(pixels))).tolist() == [[0, 255]]
    assert np.asarray(to_8_bits(Image.fromarray(VALUES.astype(np.int32)))).tolist() == [SCALED]


@pytest.mark.parametrize(
    "pixels",
    [
        np.array([[-1, 5]], dtype=np.int32),
        np.array([[0, 70000]], dtype=np.int32),
        np.array([[0, 0.7]], dtype=np.float32),
        np.array([[0, 300.5]], dtype=np.float32),
        np.array([[-0.5, 3]], dtype=np.float32),
        np.array([[np.nan, 3]], dtype=np.float32),
    ],
)
def test_values_of_unknown_range_are_refused(tmp_path, pixels):
    with pytest.raises(UnsupportedPixels, match="32-bit numbers from"):
        to_8_bits(Image.fromarray(pixels))
    with pytest.raises(UnreadableMedia, match=r"a\.tif cannot be read .*32-bit"):
        read_image(saved(tmp_path / "a.tif", pixels))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_are_left_to_pillow(mode):
    image = Image.new("RGB", (2, 2), (200, 100, 50)).convert(mode)
    assert to_8_bits(image) is image


def test_it_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(images, "_logged", False)
    for quiet in (True, False, False):
        to_8_bits(Image.fromarray(VALUES), quiet=quiet)
    assert len(caplog.records) == 1
    assert "divided by 256" in caplog.text
