"""Images that training and evaluation share are named."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.data import register_dataset
from lt_det.data.shared_images import repeated_sets, shared_images


@pytest.fixture
def register(tmp_path, request):
    names = []

    def one(name, files, root="images"):
        file = tmp_path / f"{name}.json"
        images = [{"id": i, "width": 9, "height": 9, "file_name": name} for i, name in enumerate(files)]
        file.write_text(json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "cup"}]}))
        names.append(f"{request.node.name}_{name}")
        register_dataset(names[-1], file, tmp_path / root)
        return names[-1]

    yield one
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_training_sets_that_share_images(register):
    train, more = register("train", ["a.jpg", "b.jpg"]), register("more", ["b.jpg", "c.jpg", "d.jpg"])
    (message,) = shared_images([train, more], [])
    assert f"1 of 3 images of '{more}' are in the training set '{train}', too (b.jpg)" in message
    assert "count twice" in message
    assert not shared_images([train, register("new", ["e.jpg"])], [])
    assert not shared_images([train, train], [])
    (message,) = repeated_sets([train, more, train])
    assert f"'{train}' is listed 2 times" in message


def test_shared_images(register):
    train = register("train", ["a.jpg", "b.jpg", "c.jpg"])
    val = register("val", ["b.jpg", "../images/c.jpg", "d.jpg"])
    (message,) = shared_images([train], [val])
    assert f"2 of 3 images of '{val}'" in message
    assert f"'{train}'" in message
    assert "b.jpg, c.jpg" in message
    assert not shared_images([train], [])
    assert not shared_images([train], [register("other", ["a.jpg"], root="elsewhere")])
    assert not shared_images([train], [register("clean", ["d.jpg"])])
