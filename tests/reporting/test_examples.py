"""Example images: which ones, with which boxes, and the sentence that replaces them if something is missing."""

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lt_det.cli import main
from lt_det.reporting import write_report
from lt_det.reporting.examples import class_examples
from tests.helpers.evaluations import AWKWARD, evaluation, typed, write_run

RESULTS = "instances_predictions.json"
WHITE, AMBER, CYAN = (255, 255, 255), (255, 176, 0), (86, 212, 255)


def decoded(example):
    data = example.image.removeprefix("data:image/jpeg;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


def is_near(pixels, color):
    """Which pixels have the color, up to what JPEG changes."""
    return np.abs(pixels - np.array(color)).max(axis=-1) < 70


@pytest.fixture
def evaluated(tmp_path):
    """The first six classes are rare; each has one object in one image of its own, number 10 + its id."""
    content = evaluation()
    annotations, images, detections = [], [], []
    root = tmp_path / "images"
    root.mkdir()
    for entry in content["classes"]:
        number = 10 + entry["id"]
        images.append({"id": number, "width": 640, "height": 480, "file_name": f"{number}.jpg"})
        annotations.append({"id": number, "image_id": number, "category_id": entry["id"], "bbox": [40, 50, 100, 80]})
        Image.new("RGB", (640, 480), (90, 120, 60)).save(root / f"{number}.jpg")
        found = entry["id"] % 2 == 0  # even classes are detected, odd ones are detected as class 2
        box = [45, 50, 100, 80] if found else [38, 52, 100, 80]
        detections.append({"image_id": number, "category_id": entry["id"] if found else 2, "bbox": box, "score": 0.75})
        detections.append({"image_id": number, "category_id": entry["id"], "bbox": [300, 300, 9, 9], "score": 0.01})
    categories = [{"id": entry["id"], "name": entry["name"]} for entry in content["classes"]]
    truth = tmp_path / "val.json"
    truth.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    rare = [k for k, entry in enumerate(content["classes"]) if entry["bucket"] == "rare"]
    content["tasks"]["bbox"]["class_ap"] = [float(k) if k in rare else 50.0 for k in range(62)]
    content |= {"ground_truth": str(truth), "image_root": str(root), "results": RESULTS}
    run = write_run(tmp_path / "run", content)
    folder = run / "inference" / "synthetic_val"
    (folder / RESULTS).write_text(json.dumps(detections))
    return run, folder, content, rare


def test_best_and_worst_rare_classes(evaluated):
    _, folder, content, rare = evaluated
    examples = class_examples(typed(content), "bbox", folder)
    assert (examples.bucket, examples.missing) == ("rare", "")
    names = [entry["name"] for entry in content["classes"]]
    assert [example.name for example in examples.best] == [names[k] for k in rare[:-4:-1]]
    assert [example.name for example in examples.worst] == [names[k] for k in rare[:3]]
    missed, found = examples.worst[0], examples.worst[1]
    assert missed.caption == "1 object; detected as class_1, score 0.75"
    assert found.caption == "1 object; detected with score 0.75"
    # Images are halved. True boxes are solid and white, detections of the class are dashed and amber.
    image = decoded(found)
    assert image.shape == (240, 320, 3)
    assert (found.width, found.height) == (320, 240)
    assert is_near(image[26:64, 20], WHITE).mean() > 0.9  # the left side of x = 40, y = 50, 100 x 80
    amber = is_near(image[26:64, 72], AMBER)  # the right side of x = 45
    assert 0.3 < amber.mean() < 0.9
    assert not is_near(image, CYAN).any()
    assert is_near(decoded(missed), CYAN).sum() > 20  # what it was detected as


def test_captions(evaluated):
    """Detected elsewhere; behind three other detections of its class; and with a negative score."""
    _, folder, content, rare = evaluated
    ids = {content["classes"][k]["id"]: k for k in rare[:3]}
    file = folder / RESULTS
    detections = [d for d in json.loads(file.read_text()) if d["category_id"] not in ids and d["category_id"] != 2]
    truth = json.loads(Path(content["ground_truth"]).read_text())
    images = {k: [a["image_id"] for a in truth["annotations"] if a["category_id"] == i] for i, k in ids.items()}
    away, there = [300, 200, 9, 9], [45, 50, 100, 80]
    one, two, three = ids
    for image in images[ids[one]]:
        detections.append({"image_id": image, "category_id": one, "bbox": away, "score": 0.9})
    for image in images[ids[two]]:
        detections += [{"image_id": image, "category_id": two, "bbox": away, "score": s} for s in (0.9, 0.8, 0.7)]
        detections.append({"image_id": image, "category_id": two, "bbox": there, "score": 0.6})
    for image in images[ids[three]]:
        detections.append({"image_id": image, "category_id": three, "bbox": there, "score": -0.5})
    file.write_text(json.dumps(detections))
    captions = [example.caption for example in class_examples(typed(content), "bbox", folder).worst]
    assert any(c.endswith("missed, but detected elsewhere with score 0.90") for c in captions)
    assert any(c.endswith("detected with score 0.60") for c in captions)
    assert any(c.endswith("detected with score -0.50") for c in captions)


def test_on_the_page(evaluated):
    run, _, _, _ = evaluated
    page = (write_report(run, Console(quiet=True)).parent / "report.html").read_text()
    assert page.count("data:image/jpeg") == 6
    assert AWKWARD not in page
    assert len(page) < 400_000


def test_a_class_without_ap_is_not_among_the_best(evaluated):
    _, folder, content, rare = evaluated
    for positive in (1, 0):
        content["tasks"]["bbox"]["class_ap"] = [3.0 if k in rare[:positive] else 0.0 for k in range(62)]
        examples = class_examples(typed(content), "bbox", folder)
        assert [example.name for example in examples.best] == [content["classes"][k]["name"] for k in rare[:positive]]
        assert len(examples.worst) == 3


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder, content: content.update(image_root=None), "does not name its image_root"),
        (lambda folder, content: content.update(ground_truth="/nowhere/val.json"), "val.json does not exist"),
        (lambda folder, content: content.update(image_root="/nowhere"), "does not exist"),
        (lambda folder, content: (folder / RESULTS).unlink(), "does not exist"),
        (lambda folder, content: (folder / RESULTS).write_text("{}"), "not a list of detections"),
        (lambda folder, content: (folder / RESULTS).write_text('[{"image_id": 1'), "may be truncated"),
    ],
)
def test_a_sentence_where_something_is_missing(evaluated, damage, sentence):
    _, folder, content, _ = evaluated
    damage(folder, content)
    examples = class_examples(typed(content), "bbox", folder)
    assert examples.missing.startswith("No example images: ")
    assert sentence in examples.missing
    assert not examples.best


def test_a_file_that_is_not_an_image(evaluated):
    _, folder, content, rare = evaluated
    with open(f"{content['image_root']}/{11 + rare[0]}.jpg", "w") as stream:
        stream.write("not an image")
    assert "cannot identify image file" in class_examples(typed(content), "bbox", folder).missing


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "{parent}/secret.jpg"])
def test_image_outside_the_image_folder(evaluated, name):
    run, folder, content, _ = evaluated
    root = Path(content["image_root"])
    Image.new("RGB", (640, 480)).save(root.parent / "secret.jpg")
    truth = json.loads(Path(content["ground_truth"]).read_text())
    for image in truth["images"]:
        image["file_name"] = name.format(parent=root.parent)
    Path(content["ground_truth"]).write_text(json.dumps(truth))
    examples = class_examples(typed(content), "bbox", folder)
    assert "secret.jpg is not in the image folder" in examples.missing
    assert "--outside-images" in examples.missing
    (root / "a").mkdir()
    assert len(class_examples(typed(content), "bbox", folder, outside_images=True).best) == 3
    assert main(["report", str(run), "--outside-images"]) == 0
    assert "data:image/jpeg" in (run / "report" / "report.html").read_text()


def test_links_in_the_image_folder_are_followed(evaluated):
    _, folder, content, rare = evaluated
    image = Path(content["image_root"], f"{11 + rare[0]}.jpg")
    image.rename(image.parent.parent / "moved.jpg")
    image.symlink_to(image.parent.parent / "moved.jpg")
    assert not class_examples(typed(content), "bbox", folder).missing


def test_pipe_does_not_hang(evaluated):
    _, folder, content, rare = evaluated
    image = Path(content["image_root"], f"{11 + rare[0]}.jpg")
    image.unlink()
    os.mkfifo(image)
    assert "a pipe, not a file" in class_examples(typed(content), "bbox", folder).missing
