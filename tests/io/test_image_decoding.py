"""`lt-det stats --decode`: every image is decoded, in several processes."""

import json
import os

import pytest
from PIL import Image

from lt_det.cli import main
from lt_det.io import image_decoding
from lt_det.io.image_decoding import ImageFile, decoding_problem, decoding_problems


@pytest.fixture
def images(tmp_path):
    """Eight images of 40 x 30 pixels."""
    files = []
    for index in range(8):
        path = tmp_path / "images" / f"{index}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.effect_noise((40, 30), 50).convert("RGB").save(path)
        files.append(ImageFile(index, str(path), 40, 30))
    return files


def test_an_image_in_order(images):
    assert decoding_problem(images[0]) is None


def test_a_truncated_image(images):
    os.truncate(images[0].path, os.path.getsize(images[0].path) // 2)
    assert "truncated" in decoding_problem(images[0]).lower()


def test_other_files(images, tmp_path):
    (tmp_path / "images" / "0.jpg").write_bytes(b"no image")
    assert decoding_problem(images[0]) == "it cannot be read (not an image)"
    os.remove(images[1].path)
    assert "No such file" in decoding_problem(images[1])
    os.mkfifo(images[1].path)
    assert decoding_problem(images[1]) == "it is not a file"


def test_sizes(images, monkeypatch):
    assert "40 x 30 pixels, but 41 x 30" in decoding_problem(images[0]._replace(width=41))
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn, after which Detectron2 takes the size
    Image.new("RGB", (30, 40)).save(images[1].path, exif=exif)
    assert decoding_problem(images[1]) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert "exceeds limit" in decoding_problem(images[2])


def test_several_processes(images, monkeypatch):
    monkeypatch.setattr(image_decoding, "_FEW", 2)
    for index in (1, 6):
        os.truncate(images[index].path, 500)
    done = []
    found = list(decoding_problems(images, 2, lambda: done.append(1)))
    assert [image.id for image, _ in found] == [1, 6]
    assert found == list(decoding_problems(images, 1))
    assert len(done) == 8


def test_the_command(images, tmp_path, capsys):
    content = {
        "images": [{"id": i.id, "file_name": f"{i.id}.jpg", "width": 40, "height": 30} for i in images],
        "categories": [{"id": 0, "name": "a"}],
        "annotations": [
            {"id": i.id, "image_id": i.id, "category_id": 0, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
            for i in images
        ],
    }
    file = tmp_path / "train.json"
    file.write_text(json.dumps(content))
    assert main(["stats", str(file), "--images", str(tmp_path / "images"), "--decode"]) == 0
    os.truncate(images[3].path, 500)
    assert main(["stats", str(file), "--images", str(tmp_path / "images")]) == 0
    capsys.readouterr()
    assert main(["stats", str(file), "--images", str(tmp_path / "images"), "--decode"]) == 1
    out, err = capsys.readouterr()
    assert f"image 3: {images[3].path}" in out
    assert "1 of 8 images cannot be read" in err
    assert main(["stats", str(file), "--decode"]) == 1
    assert "--images" in capsys.readouterr().err
