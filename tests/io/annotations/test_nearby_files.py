"""Names of images as annotation tools write them: the error names the file that is meant, and the correction."""

import unicodedata

import pytest

from lt_det.errors import LtDetError
from lt_det.io.annotations import nearby_files
from lt_det.io.annotations.checks import check_annotations
from lt_det.io.annotations.nearby_files import NearbyFiles
from lt_det.starting_config.image_folders import find_image_folder

# What file_name says, the file that exists, and words of the correction. All are below the folder "photos".
NAMES = [
    ("a\\b.jpg", "a/b.jpg", r"write / in place of \\"),
    ("C:\\data\\b.jpg", "b.jpg", "remove the folders"),
    ("/home/somebody/b.jpg", "b.jpg", "remove the folders"),
    ("https://example.org/x/b.jpg", "b.jpg", "remove the folders"),
    ("/data/local-files/?d=some%20where/b%20c.jpg", "b c.jpg", "decoded name without folders"),
    ("images\\1/b.jpg", "b.jpg", "remove the folders"),
    ("b%20c.jpg", "b c.jpg", "percent-encoded"),
    (" b.jpg ", "b.jpg", "remove the spaces"),
    ("upload/0a1b2c3d-b.jpg", "b.jpg", "8 characters of the upload"),
    ("b.jpg", "train/b.jpg", r"name .*train as the image folder"),
    ("photos/b.jpg", "b.jpg", r"name .* as the image folder"),
    ("\u00e9t\u00e9.jpg", unicodedata.normalize("NFD", "\u00e9t\u00e9.jpg"), "accents"),
    ("b.jpg", "B.JPG", "upper and lower case"),
    ("b.jpg", "b.png", "extension"),
    ("b", "b.png", "extension"),
]


def document(*names):
    return {
        "images": [{"id": i, "width": 9, "height": 9, "file_name": name} for i, name in enumerate(names)],
        "annotations": [],
        "categories": [{"id": 1, "name": "cup"}],
    }


@pytest.mark.parametrize(("written", "exists", "words"), NAMES)
def test_a_name_that_means_a_file_nearby(tmp_path, written, exists, words):
    file = tmp_path / "photos" / exists
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(LtDetError, match=rf"image 0: .* does not exist, but .* does: .*{words}") as error:
        check_annotations(document(written), "a.json", tmp_path / "photos")
    assert str(file) in str(error.value)


@pytest.mark.parametrize("exists", ["c.jpg", "ab.jpg", "0a1b2c3d/c.jpg"])
def test_no_file_is_meant(tmp_path, exists):
    (tmp_path / exists).parent.mkdir(exist_ok=True)
    (tmp_path / exists).touch()
    with pytest.raises(LtDetError, match=r"image 0: .*b\.jpg does not exist; correct the image folder"):
        check_annotations(document("0a1b2c3d-b.jpg"), "a.json", tmp_path)


def test_mistakes_of_two_kinds_are_reported_apart(tmp_path):
    for name in ("a/0.jpg", "a/1.jpg", "3.JPG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(LtDetError) as error:
        check_annotations(document("a\\0.jpg", "a\\1.jpg", "gone.jpg", "3.jpg"), "a.json", tmp_path)
    first, second, third = str(error.value).split("; image ")
    assert "place of" in first
    assert "1 other image: 1" in first
    assert second.startswith("2: ")
    assert "correct the image folder" in second
    assert third.startswith("3: ")
    assert "lower case" in third


def test_a_folder_is_looked_into_once_and_names_without_a_file_are_given_up(tmp_path, monkeypatch):
    (tmp_path / "photos/a").mkdir(parents=True)
    files, listed, entries = NearbyFiles(tmp_path / "photos"), [], nearby_files._entries
    monkeypatch.setattr(nearby_files, "_entries", lambda folder: listed.append(folder) or entries(folder))
    assert not any(files.find(f"{number}.jpg") for number in range(300))
    assert len(listed) < 10
    (tmp_path / "photos/a/0.jpg").touch()
    assert files.find("0.jpg") is None  # the images are elsewhere


def test_init_with_a_folder_that_has_none_of_the_names(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/b c.jpg").touch()
    with pytest.raises(LtDetError, match=r"none of the 1 images .*b c\.jpg exists: .*percent-encoded"):
        find_image_folder(tmp_path / "a.json", ["b%20c.jpg"], tmp_path / "photos", "--images")
