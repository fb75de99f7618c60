"""Annotations in other formats are named, with the way to convert them."""

import json
import re
import zipfile

import pytest

from lt_det.cli import main
from lt_det.errors import LtDetError
from lt_det.io.annotations import recognize
from lt_det.io.annotations.coco_json import image_records, load_annotations, read_in_pieces
from tests.helpers import REPOSITORY

VOC = (
    "<annotation><folder>x</folder><filename>a.jpg</filename><size><width>9</width><height>9</height></size>"
    "<object><name>cup</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object>"
    "</annotation>"
)
CVAT = (
    '<?xml version="1.0" encoding="utf-8"?>\n<!-- <annotation> -->\n<annotations><version>1.1</version></annotations>'
)
REGION = {"x": 1.5, "y": 2, "width": 3, "height": 4, "rotation": 0, "rectanglelabels": ["cup"]}
TASK = {
    "id": 1,
    "annotations": [{"id": 3, "result": [{"type": "rectanglelabels", "original_width": 9, "value": REGION}]}],
    "data": {"image": "/data/upload/1/a.jpg"},
}
MIN_TASK = {"image": "/data/upload/1/a.jpg", "id": 1, "label": [REGION | {"original_width": 9, "original_height": 9}]}
LABELME = {"version": "5.0", "flags": {}, "shapes": [{"label": "cup", "points": [[1, 1]]}], "imagePath": "a.jpg"}
SUPERVISELY = {"description": "", "tags": [], "size": {"height": 9, "width": 9}, "objects": []}
RESULT = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}
IMAGES = [{"id": 1, "width": 9, "height": 9, "file_name": "a.jpg"}]
CAPTIONS = {"images": IMAGES, "annotations": [{"id": 1, "image_id": 1, "caption": "a cup"}]}
SEGMENT = {"id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0}
PANOPTIC = {
    "images": IMAGES,
    "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [SEGMENT]}],
    "categories": [{"id": 1, "name": "cup", "isthing": 1}],
}
VIA = {"a.jpg9": {"filename": "a.jpg", "size": 9, "regions": [], "file_attributes": {}}}
YOLO_YAML = "train: images/train\nval: images/val\nnames:\n  0: cup\n"
OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n0,x,/m/01,1,0.1,0.2,0.1,0.2\n"

FILES = [
    ("a.xml", VOC, "Pascal VOC"),
    ("a.xml", '<?xml version="1.0"?>\n' + VOC, "Pascal VOC"),
    ("annotations.xml", CVAT, "CVAT"),
    ("a.xml", "<html></html>", "xml"),
    ("a.txt", "0 0.5 0.5 .25 1\n11 0.5 0.25 0.1 1e-3\n".replace("1e-3", "0.001"), "YOLO"),
    ("a.txt", "0 0.1 0.1 0.9 0.1 0.9 0.9", "YOLO"),
    ("data.yaml", YOLO_YAML, "YOLO"),
    ("classes.txt", "cup\ncan\n", "YOLO"),
    ("export.json", [TASK], "Label Studio"),
    ("export.json", [{"image": "/data/b.jpg", "id": 2}, MIN_TASK], "Label Studio"),
    ("a.json", LABELME, "LabelMe"),
    ("a.jpg.json", SUPERVISELY, "Supervisely"),
    ("meta.json", {"classes": [], "tags": [], "projectType": "images"}, "Supervisely"),
    ("results.json", [RESULT], "--results"),
    ("captions.json", CAPTIONS, "caption"),
    ("panoptic.json", PANOPTIC, "panoptic"),
    ("via.json", VIA, "VGG"),
    ("createml.json", [{"image": "a.jpg", "annotations": [{"label": "cup", "coordinates": {"x": 1}}]}], "Create ML"),
    ("bdd.json", [{"name": "a.jpg", "labels": [{"category": "cup", "box2d": {}}]}], "BDD100K"),
    ("samples.json", {"samples": [{"filepath": "data/a.jpg", "ground_truth": {"detections": []}}]}, "FiftyOne"),
    ("mmdet.json", {"metainfo": {"classes": ["cup"]}, "data_list": [{"img_path": "a.jpg"}]}, "mmdetection"),
    ("v7.json", {"version": "2.0", "item": {"name": "a.jpg"}, "annotations": [{"name": "cup"}]}, "V7"),
    ("city.json", {"imgHeight": 9, "imgWidth": 9, "objects": [{"label": "car", "polygon": []}]}, "Cityscapes"),
    ("vis.json", {"videos": [{"id": 1}], "annotations": [{"id": 1, "bboxes": []}], "categories": [{}]}, "videos"),
    ("records.json", [{"file_name": "a.jpg", "annotations": [{"bbox": [0, 0, 1, 1], "bbox_mode": 0}]}], "Detectron2"),
    ("datumaro.json", {"info": {}, "categories": {"label": {"labels": []}}, "items": [{"id": "a"}]}, "Datumaro"),
    ("open.csv", OPEN_IMAGES, "Open Images"),
    ("mine.csv", "file,x1,y1,x2,y2,class\na.jpg,1,1,2,2,cup\n", "csv"),
    ("a.jpg", b"\xff\xd8\xff\xe0", "image"),
]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(("name", "content", "kind"), FILES)
@pytest.mark.parametrize("read", [load_annotations, read_in_pieces, image_records])
def test_files(tmp_path, name, content, kind, read):
    path = write(tmp_path / name, content)
    if kind == "panoptic" and read is image_records:
        pytest.skip("its images are those of any COCO json")
    with pytest.raises(LtDetError, match=f"(?s){re.escape(str(path))} is .*{kind}"):
        list(read(path))


FOLDERS = [
    ({"a.xml": VOC, "b.xml": VOC}, "Pascal VOC"),
    ({"Annotations/a.xml": VOC, "JPEGImages/a.jpg": b"", "ImageSets/Main/train.txt": "a"}, "Pascal VOC"),
    ({"labels/train/a.txt": "0 .5 .5 .1 .1", "images/train/a.jpg": b""}, "YOLO"),
    ({"labels/a.txt": "", "labels/b.txt": "3 0.5 0.5 0.1 0.1", "classes.txt": "cup"}, "YOLO"),
    ({"data.yaml": YOLO_YAML, "train/images/a.jpg": b""}, "YOLO"),
    ({"annotations.xml": CVAT, "images/a.jpg": b""}, "CVAT"),
    ({"a.jpg": b"", "a.json": LABELME}, "LabelMe"),
    ({"meta.json": {"classes": [], "tags": []}, "ds/ann/a.jpg.json": SUPERVISELY}, "Supervisely"),
    ({"images/a.jpg": b"", "annotations/train.json": CAPTIONS | {"categories": [], "annotations": []}}, "train.json"),
    ({"a.jpg": b"", "b/c.PNG": b""}, "images without annotations"),
    ({"a.jpg": b"", "boxes.csv": OPEN_IMAGES}, "csv"),
]


@pytest.mark.parametrize(("files", "kind"), FOLDERS)
def test_folders(tmp_path, files, kind):
    for name, content in files.items():
        write(tmp_path / "set" / name, content)
    with pytest.raises(LtDetError, match=f"{tmp_path}/set is a folder.*{kind}"):
        load_annotations(tmp_path / "set")


def test_archives(tmp_path):
    path = tmp_path / "export.zip"
    for name, content, message in (
        ("Annotations/a.xml", VOC, "Pascal VOC.*unpack it"),
        ("obj_train_data/a.txt", "0 .5 .5 .1 .1", "YOLO.*unpack it"),
        ("annotations/instances_default.json", "{}", "decompress it and name the json inside"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(LtDetError, match=message):
            load_annotations(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [', "not valid json"),
        ("[]", "holds a list"),
        ("[3]", "holds a list"),
        ({"images": IMAGES, "annotations": []}, "has no list 'categories'"),
        ({"images": IMAGES, "annotations": [{"id": 1}], "categories": [{"id": 1, "name": "x"}]}, "no 'image_id'"),
        ("0 150 200 30 40", "not valid json"),
        ("", "is empty"),
        (b"PK\x03\x04 corrupt", "is compressed"),
        (b"\xff\xfe\x00", "json"),
    ],
)
def test_other_messages_stay(tmp_path, content, message):
    for name in ("a.json", "a.txt"):
        with pytest.raises(LtDetError, match=message):
            load_annotations(write(tmp_path / name, content))


def test_empty_folder(tmp_path):
    with pytest.raises(LtDetError, match="cannot be read"):
        load_annotations(tmp_path)


def test_advice_is_in_the_docs():
    kinds = [kind for kind in vars(recognize).values() if isinstance(kind, recognize.Kind)]
    headings = re.findall(r"^#+ (.*)$", (REPOSITORY / recognize.PAGE).read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    named = {found[1] for kind in kinds if (found := re.search(r"\.md#([\w-]+)", kind.advice))}
    assert len(named) >= 6
    assert named <= anchors


def test_commands(tmp_path, capsys):
    folder = tmp_path / "set"
    write(folder / "a.xml", VOC)
    for command in (["stats", folder], ["split", folder / "a.xml", "--out", tmp_path / "parts"]):
        assert main([str(word) for word in command]) == 1
        assert re.search(r"Pascal VOC.*converting\.md#pascal-voc", capsys.readouterr().err)
    config = write(
        tmp_path / "mine.yaml",
        f"MODEL: {{ROI_HEADS: {{NUM_CLASSES: 1}}, DEVICE: cpu}}\nDATASETS: {{TRAIN: ['voc_set'], TEST: [], REGISTER: "
        f"{{voc_set: {{JSON: {folder}, IMAGES: {folder}}}}}}}\n",
    )
    assert main(["doctor", "--config", str(config)]) == 1
    assert re.search(r"Pascal VOC.*converting\.md#pascal-voc", capsys.readouterr().out.replace("\n", " "))


@pytest.mark.parametrize(
    "more", [{"caption": "a cup"}, {"segments_info": []}, {}], ids=["captioned boxes", "segments", "other sections"]
)
def test_coco_json_with_more_fields_has_an_error_of_its_own(tmp_path, more):
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], **more}
    image = {"id": 1, "file_name": "a.jpg", "height": 9}  # without width
    data = {
        "images": [image],
        "annotations": [box],
        "categories": [{"id": 1, "name": "cup"}],
        "tags": [],
        "classes": [],
    }
    file = tmp_path / "boxes.json"
    for annotations in ([box], []):
        file.write_text(json.dumps(data | {"annotations": annotations}))
        with pytest.raises(LtDetError, match="width"):
            load_annotations(file)
