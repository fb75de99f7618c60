"""Starting configs of whole data sets: what they hold, and that detectors train with them."""

import http.server
import json
import pickle
import threading
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.modeling import build_model

from lt_det.config import bucket_options
from lt_det.doctor import examine
from lt_det.errors import LtDetError
from lt_det.modeling.backbones.timm_weights import as_checkpoint
from lt_det.starting_config import detector, write_config
from lt_det.starting_config.detector import flat, small_detector
from lt_det.starting_config.machine import Machine
from lt_det.statistics.buckets import resolve_buckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.training.config_loading import load_config
from tests.helpers import REPOSITORY
from tests.helpers.keypoint_set import write_set
from tests.helpers.shapes_set import write_shapes

SMALL_YAML = REPOSITORY / "configs" / "base" / "small.yaml"

# Keys of the small detector that init chooses from data and machine; all others are those of configs/base/small.yaml.
CHOSEN = {
    *("MODEL.WEIGHTS", "MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"),
    *("MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "TEST.DETECTIONS_PER_IMAGE"),
    *("INPUT.MIN_SIZE_TRAIN", "INPUT.MAX_SIZE_TRAIN", "INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST"),
    *("INPUT.RANDOM_FLIP", "DATALOADER.NUM_WORKERS", "DATALOADER.SAMPLER_TRAIN", "DATALOADER.REPEAT_THRESHOLD"),
    *("SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.WARMUP_ITERS", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD"),
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lt_det.starting_config.writing.this_machine", lambda: Machine("", 0.0, 2))


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    """A file as lt-det imagenet-weights writes it, of random weights."""
    from lt_det.modeling.backbones.timm_fpn import feature_extractor

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "backbone.pth"
    torch.save(as_checkpoint("tf_efficientnet_lite0", feature_extractor("tf_efficientnet_lite0").state_dict()), file)
    return file


def read(file):
    """Values by dotted key."""
    return flat(yaml.safe_load(Path(file).read_text()))


def fatal(config, *overrides):
    """What doctor, which trains two iterations, finds fatal."""
    findings = list(examine(str(config), overrides))
    assert any(finding.subject == "training" for finding in findings) or any(finding.fatal for finding in findings)
    return [finding for finding in findings if finding.fatal]


@pytest.mark.slow
def test_three_classes_train(tmp_path, backbone):
    train = write_shapes(tmp_path, images=20)
    written = write_config(train, Path("three.yaml"), small=True)
    assert written.parts == [Path("three_train.json"), Path("three_val.json")]
    numbers = [{image["id"] for image in json.loads(part.read_text())["images"]} for part in written.parts]
    assert sorted(map(len, numbers)) == [4, 16]
    assert numbers[0] | numbers[1] == set(range(1, 21))
    value = read("three.yaml")
    assert value["DATASETS.REGISTER.three_train.IMAGES"] == str(tmp_path / "images")
    assert value["MODEL.ROI_HEADS.NUM_CLASSES"] == 3
    assert value["MODEL.MASK_ON"]
    assert value["DATALOADER.SAMPLER_TRAIN"] == "TrainingSampler"
    assert any(str(tmp_path / "images") in doubt for doubt in written.doubts)
    assert any("imagenet-weights" in doubt for doubt in written.doubts)
    assert fatal("three.yaml", "MODEL.WEIGHTS", str(backbone)) == []


def test_values_that_data_do_not_decide_are_those_of_the_base(tmp_path):
    write_config(write_shapes(tmp_path, images=6), Path("a.yaml"), small=True)
    base, made = flat(yaml.safe_load(SMALL_YAML.read_text())), load_config("a.yaml")
    of_base = load_config(str(SMALL_YAML))
    compared = 0
    for key in base.keys() - CHOSEN:
        expected, found = of_base, made
        for part in key.split("."):
            expected, found = expected[part], found[part]
        assert found == expected, key
        compared += 1
    assert compared >= 25
    assert {key.split(".")[0] for key in CHOSEN} <= {*made}


def test_sizes_follow_the_base(tmp_path, monkeypatch):
    base = yaml.safe_load(SMALL_YAML.read_text())
    base["INPUT"]["MIN_SIZE_TEST"], base["SOLVER"]["BASE_LR"] = 96, 0.03
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    monkeypatch.setattr(detector, "shipped_config", lambda name: tmp_path / "base.yaml")
    write_config(write_shapes(tmp_path, images=6), Path("a.yaml"), small=True)
    value = read("a.yaml")
    assert (value["INPUT.MIN_SIZE_TEST"], value["SOLVER.BASE_LR"]) == (96, 0.03)


def test_images_whose_names_have_backslashes(tmp_path):
    file = write_shapes(tmp_path, images=6)
    data = json.loads(file.read_text())
    folder = file.parent / "images"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for image in data["images"]:
        (folder / "sub" / Path(image["file_name"]).name).touch()
        image["file_name"] = f"sub\\{Path(image['file_name']).name}"
    file.write_text(json.dumps(data))
    (doubt,) = (text for text in write_config(file, Path("a.yaml"), small=True).doubts if "None of" in text)
    assert str(folder / "sub") in doubt
    assert "write / in place of" in doubt


def test_long_tail_without_images(tmp_path, coco_file):
    written = write_config(coco_file, Path("litter.yaml"), small=True)
    value = read("litter.yaml")
    assert value["DATALOADER.SAMPLER_TRAIN"] == "RepeatFactorTrainingSampler"
    assert value["MODEL.ROI_HEADS.SCORE_THRESH_TEST"] == 0.001
    doubts = "\n".join(written.doubts)
    assert "None of the images was found" in doubts
    assert "Plastified paper bag" in doubts
    assert "fewer than 5 training images" in doubts
    assert "--images" in doubts
    load_config("litter.yaml")


def test_federated_annotations(tmp_path, lvis_file):
    write_config(lvis_file, Path("federated.yaml"), small=True)
    value = read("federated.yaml")
    assert (value["MODEL.ROI_HEADS.SCORE_THRESH_TEST"], value["TEST.DETECTIONS_PER_IMAGE"]) == (0.0001, 300)
    assert value["MODEL.ROI_HEADS.NUM_CLASSES"] == len(json.loads(lvis_file.read_text())["categories"])
    part = json.loads(Path("federated_val.json").read_text())
    assert all("neg_category_ids" in image for image in part["images"])


@pytest.mark.parametrize("letters", [True, False])
def test_buckets_of_the_annotation_file_are_evaluated(tmp_path, letters):
    """In a part of LVIS, the letters are those of all of LVIS, and the counts would give other buckets."""
    train = write_shapes(tmp_path, images=20)
    data = json.loads(train.read_text())
    if letters:
        for category, letter in zip(data["categories"], "fcr", strict=True):
            category["frequency"] = letter
    train.write_text(json.dumps(data))
    written = write_config(train, Path("letters.yaml"), small=True)
    cfg = load_config("letters.yaml")
    stats = ClassStats.from_json(train)
    categories = json.loads(Path("letters_val.json").read_text())["categories"]
    buckets = resolve_buckets(bucket_options(cfg), stats, categories)
    names = [buckets.names[bucket] for bucket in buckets.assignment]
    assert (names == ["frequent", "common", "rare"]) == letters
    assert ("TEST.BUCKETS.EDGES" in read("letters.yaml")) != letters
    assert ("'frequency'" in "\n".join(written.summary)) == letters


@pytest.mark.slow
def test_mini_lvis_trains_under_its_own_name(mini, backbone):
    """`mini_lvis_train` is a set that lt_det registers, in another place."""
    written = write_config(mini.train_json, Path("mini_lvis.yaml"), val_json=mini.val_json, small=True)
    assert written.parts == []
    value = read("mini_lvis.yaml")
    assert value["INPUT.MIN_SIZE_TEST"] == 144  # images are not enlarged
    assert fatal("mini_lvis.yaml", "MODEL.WEIGHTS", str(backbone)) == []


def test_one_class_without_masks(tmp_path):
    train = write_shapes(tmp_path, images=6, classes=("disk",), masks=False)
    written = write_config(train, Path("one.yaml"), small=True)
    value = read("one.yaml")
    assert not value["MODEL.MASK_ON"]
    assert not any(key.startswith("MODEL.ROI_MASK_HEAD") for key in value)
    assert "1 class with" in written.summary[0]
    assert "One class cannot be divided" in Path("one.yaml").read_text().replace("\n    # ", " ")
    load_config("one.yaml")


def test_class_without_validation_images(tmp_path):
    train = write_shapes(tmp_path / "a", images=12)
    val = write_shapes(tmp_path / "b", images=1)  # the first has a disk only
    written = write_config(train, Path("unevaluated.yaml"), val_json=val, small=True)
    assert any("no validation image" in doubt and "bar, block" in doubt for doubt in written.doubts)
    assert read("unevaluated.yaml")["DATASETS.REGISTER.unevaluated_val.IMAGES"] == str(tmp_path / "b" / "images")


@pytest.mark.parametrize(
    ("names", "flip", "pairs"),
    [
        (["nose", "left_eye", "right_eye"], "horizontal", [["left_eye", "right_eye"]]),
        (["nose", "left_eye", "tail"], "none", None),
        (["wing_a", "wing_b", "tail"], "none", None),
    ],
)
def test_keypoints(tmp_path, names, flip, pairs):
    train = write_set(tmp_path, keypoints=names)
    written = write_config(train, Path("points.yaml"), val_json=_copy(train, "val.json"), small=True)
    value = read("points.yaml")
    assert value["MODEL.KEYPOINT_ON"]
    assert value["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"] == 3
    assert value["INPUT.RANDOM_FLIP"] == flip
    assert value.get("DATASETS.REGISTER.points_train.KEYPOINT_FLIP_MAP") == pairs
    assert any("KEYPOINT_FLIP_MAP" in doubt for doubt in written.doubts) == (flip == "none")
    assert any("validation images are training images" in doubt for doubt in written.doubts)


@pytest.mark.slow
def test_keypoints_train(tmp_path, backbone):
    train = write_set(tmp_path)
    write_config(train, Path("points.yaml"), val_json=_copy(train, "val.json"), small=True)
    assert fatal("points.yaml", "MODEL.WEIGHTS", str(backbone)) == []


def _copy(file, name):
    copy = file.with_name(name)
    copy.write_bytes(file.read_bytes())
    return copy


@pytest.fixture(scope="module")
def resnet_weights(tmp_path_factory):
    """A file like those of Detectron2's model zoo: a Mask R-CNN R50-FPN of 80 classes, with few channels."""
    from detectron2 import model_zoo

    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
    cfg.MODEL.DEVICE, cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = "cpu", 16, 32
    torch.manual_seed(0)
    weights = {name: weight.numpy() for name, weight in build_model(cfg).state_dict().items()}
    file = tmp_path_factory.mktemp("zoo") / "model_final_f10217.pkl"
    with file.open("wb") as out:
        pickle.dump({"model": weights, "__author__": "Detectron2 Model Zoo"}, out)
    return file


@pytest.mark.slow
def test_weights_of_detectron2_train(tmp_path, resnet_weights):
    written = write_config(write_shapes(tmp_path, images=6), Path("fine.yaml"), weights=resnet_weights)
    value = read("fine.yaml")
    assert value["MODEL.WEIGHTS"] == str(resnet_weights)
    assert (value["MODEL.FPN.OUT_CHANNELS"], value["MODEL.ROI_BOX_HEAD.FC_DIM"]) == (16, 32)
    assert value["MODEL.ANCHOR_GENERATOR.SIZES"] == [[32], [64], [128], [256], [512]]  # as the RPN was trained
    assert value["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG"]
    assert value["SOLVER.BASE_LR"] == pytest.approx(0.02 * value["SOLVER.IMS_PER_BATCH"] / 16 / 2)
    assert any("CPU" in doubt for doubt in written.doubts)
    assert fatal("fine.yaml") == []


def test_classifier_that_would_be_kept_is_named(tmp_path, resnet_weights):
    names = tuple(f"class {k}" for k in range(80))
    train = write_shapes(tmp_path, images=6)
    data = json.loads(train.read_text())
    data["categories"] += [{"id": k + 1, "name": names[k]} for k in range(3, 80)]
    train.write_text(json.dumps(data))
    written = write_config(train, Path("a.yaml"), weights=resnet_weights)
    assert any("classifier of 80 classes" in doubt for doubt in written.doubts)


def test_weights_of_coco_if_their_address_answers(tmp_path, monkeypatch):
    """The real address is not asked for: a server on this machine answers HEAD, or does not."""
    train = write_shapes(tmp_path, images=6, masks=False)

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(200 if self.path.endswith("there.pkl") else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    asked = []
    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    try:
        monkeypatch.setattr(detector, "COCO_BOXES", f"{address}/there.pkl")
        write_config(train, Path("there.yaml"))
        monkeypatch.setattr(detector, "COCO_BOXES", f"{address}/absent.pkl")
        write_config(train, Path("absent.yaml"))
    finally:
        server.shutdown()
        server.server_close()
    write_config(train, Path("closed.yaml"))
    assert asked == ["/there.pkl", "/absent.pkl"]
    assert read("there.yaml")["MODEL.WEIGHTS"] == f"{address}/there.pkl"
    assert read("there.yaml")["MODEL.BACKBONE.NAME"] == "build_resnet_fpn_backbone"
    for name in ("absent.yaml", "closed.yaml"):
        assert read(name)["MODEL.BACKBONE.NAME"] == "build_timm_fpn_backbone"
    load_config("there.yaml")


def test_nothing_is_overwritten_unless_forced(tmp_path):
    train = write_shapes(tmp_path, images=6)
    out = Path("a.yaml")
    write_config(train, out, small=True)
    before = out.read_text()
    with pytest.raises(LtDetError, match=r"a\.yaml.*--force"):
        write_config(train, out, small=True)
    out.unlink()
    with pytest.raises(LtDetError, match=r"a_train\.json.*--force"):
        write_config(train, out, small=True)
    assert not out.exists()
    write_config(train, out, small=True, force=True)
    assert out.read_text() == before
    own = train.rename("b_train.json")
    with pytest.raises(LtDetError, match=r"b_train\.json"):
        write_config(own, Path("b.yaml"), small=True, force=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"out": "a.txt"}, "--out a.txt"),
        ({"val_images": Path("x")}, "--val-images x"),
        ({"small": True, "weights": Path("x.pth")}, "--small.*x.pth"),
        ({"weights": Path("x.pth")}, "x.pth.*no such file"),
        ({"images": Path("nowhere")}, "--images nowhere"),
        ({"val_json": Path("other.json")}, "(?s)other.json.*classes"),
        ({"val_json": Path("shapes.json")}, "--val shapes.json is the training set"),
        ({"val_json": Path("absent.json")}, "absent.json"),
        ({"group_key": "video"}, "'video'"),
    ],
)
def test_bad_options(tmp_path, options, said):
    train = write_shapes(tmp_path, images=4)
    write_shapes(tmp_path, "other", images=4, classes=("disk", "block"))
    with pytest.raises(LtDetError, match=said):
        write_config(train, Path(options.pop("out", "a.yaml")), **({"small": "weights" not in options} | options))
    assert not Path("a.yaml").exists()


def test_a_set_without_objects_is_refused(tmp_path):
    train = write_shapes(tmp_path, images=4)
    data = json.loads(train.read_text())
    train.write_text(json.dumps(data | {"annotations": []}))
    with pytest.raises(LtDetError, match="no objects"):
        write_config(train, Path("a.yaml"), small=True)


def test_a_gpu_gets_a_batch_that_fits(resnet_weights):
    given = detector.choose_detector(resnet_weights, False, True, False)
    sizes = [given.batch_size(Machine("a GPU", memory, 8)) for memory in (1, 8, 12, 24, 80)]
    assert sizes == [1, 4, 4, 8, 16]
    assert small_detector().batch_size(Machine("a GPU", 8, 8)) == read(SMALL_YAML)["SOLVER.IMS_PER_BATCH"]


def test_validation_images_in_the_folder_that_is_given_although_sets_share_one(tmp_path):
    images = tmp_path / "elsewhere" / "photos"
    images.mkdir(parents=True)
    for number in range(8):
        (images / f"{number}.jpg").touch()
    for part, numbers in (("train", range(5)), ("val", range(4, 8))):
        (tmp_path / part).mkdir()
        data = {
            "images": [{"id": n, "file_name": f"{n}.jpg", "width": 99, "height": 99} for n in numbers],
            "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 9, 9]} for n in numbers],
            "categories": [{"id": 1, "name": "cup"}],
        }
        (tmp_path / part / f"{part}.json").write_text(json.dumps(data))
    files = tmp_path / "train" / "train.json", tmp_path / "val" / "val.json"
    written = write_config(files[0], Path("x.yaml"), val_json=files[1], images=images, small=True)
    assert read("x.yaml")["DATASETS.REGISTER.x_val.IMAGES"] == str(images)
    assert any("1 of 4 validation images are training images" in doubt for doubt in written.doubts)


def test_nothing_is_written_where_a_path_is_refused(tmp_path):
    folder = tmp_path / "$HOME"
    train = write_shapes(folder, images=8)
    with pytest.raises(LtDetError, match="HOME"):
        write_config(train, Path("a.yaml"), small=True)
    assert list(tmp_path.iterdir()) == [folder]


def test_masks_are_trained_with_the_detector_chosen_for_them(tmp_path, monkeypatch):
    """Half of all objects have a mask, but fewer of those in the training part."""
    train = write_shapes(tmp_path, images=10, classes=("disk",))
    write_config(train, Path("a.yaml"), small=True)
    of_val = {image["id"] for image in json.loads(Path("a_val.json").read_text())["images"]}
    data = json.loads(train.read_text())
    others = [annotation for annotation in data["annotations"] if annotation["image_id"] not in of_val]
    for annotation in others[3:]:
        del annotation["segmentation"]
    train.write_text(json.dumps(data))
    asked = []

    def chosen(weights, small, masks, keypoints):
        asked.append(masks)
        return small_detector()

    monkeypatch.setattr("lt_det.starting_config.writing.choose_detector", chosen)
    write_config(train, Path("b.yaml"))
    assert read("b.yaml")["MODEL.MASK_ON"] == asked[-1] is False
