"""lt-det doctor: packages, and configs that a training would refuse or that cannot be checked."""

import importlib.util
import json
import logging
import sys

import cv2
import pytest
import torch

from lt_det.cli import main
from lt_det.cli.command_line import _parser
from lt_det.data.cache import record_cache
from lt_det.doctor.config_checks import examine_config
from lt_det.doctor.environment import examine_environment
from lt_det.io.annotations import coco_json
from tests.helpers import REPOSITORY, free_port

PRECOMPUTED = ("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals")


@pytest.fixture
def config(mini, tmp_path):
    """A config that registers mini_lvis's files under names of this test; tests override its keys."""
    name = tmp_path.name
    file = tmp_path / "config.yaml"
    file.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_eql.yaml
DATASETS:
  REGISTER:
    {name}_train: {{JSON: {mini.train_json}, IMAGES: {mini.image_root}}}
    {name}_val: {{JSON: {mini.val_json}, IMAGES: {mini.image_root}}}
  TRAIN: ("{name}_train",)
  TEST: ("{name}_val",)
MODEL: {{ROI_HEADS: {{NUM_CLASSES: 12}}}}
DATALOADER: {{NUM_WORKERS: 0}}
OUTPUT_DIR: {tmp_path}/output
""")
    return file


@pytest.fixture
def replaced(mini, tmp_path):
    """A function that makes the config use a changed copy of the training or the validation json."""

    def replace(config, part, change):
        original = mini.train_json if part == "train" else mini.val_json
        data = json.loads(original.read_text())
        change(data)
        copy = tmp_path / f"{part}.json"
        copy.write_text(json.dumps(data))
        config.write_text(config.read_text().replace(str(original), str(copy)))

    return replace


def examine(config, *opts):
    return list(examine_config(str(config), [str(word) for word in opts]))


def fatal(config, *opts):
    return [(finding.subject, finding.advice) for finding in examine(config, *opts) if finding.fatal]


# ------------------------------------------------------------------------------------------------ packages


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that installs metadata of distributions, and hides that of all others, whose modules stay loaded."""
    for finding in examine_environment():  # imports every module that is checked
        assert not finding.fatal

    def install(**versions):
        for name, version in versions.items():
            folder = tmp_path / f"{name}-{version}.dist-info"
            folder.mkdir()
            distribution = name.replace("_", "-")
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        monkeypatch.setattr(sys, "path", [str(tmp_path)])

    return install


def opencv():
    (finding,) = [finding for finding in examine_environment() if finding.subject == "opencv-python"]
    return finding


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ({"opencv_python": "4.9.0"}, "4.9.0"),
        ({"opencv_python_headless": "4.9.0"}, "4.9.0 (opencv-python-headless)"),
        ({"opencv_contrib_python_headless": "4.9.0"}, "4.9.0 (opencv-contrib-python-headless)"),
        ({"opencv_python": "4.9.0", "opencv_python_headless": "4.9.0"}, "4.9.0, 4.9.0 (opencv-python-headless)"),
        ({}, "installed without version"),
    ],
)
def test_every_opencv_will_do(installed, versions, found):
    installed(**versions)
    assert opencv() == ("opencv-python", found, "", False)


def test_two_opencvs_of_different_versions(installed):
    installed(opencv_python="5.0.0", opencv_python_headless="4.9.0")
    assert opencv().found == "5.0.0, 4.9.0 (opencv-python-headless)"
    assert "pip uninstall opencv-python opencv-python-headless" in opencv().advice
    assert not opencv().fatal


def test_an_opencv_that_lost_its_files(installed, monkeypatch):
    """To the uninstallation of another one: what is left is a folder, which Python imports as an empty module."""
    monkeypatch.delattr(cv2, "imread")
    installed(opencv_python_headless="4.9.0")
    assert opencv().fatal
    assert "pip install --force-reinstall --no-deps opencv-python-headless" in opencv().advice


@pytest.mark.parametrize(("missing", "fatal"), [("lvis", False), ("pycocotools", True)])
def test_a_missing_package(monkeypatch, missing, fatal):
    """Only LVIS's files need lvis."""
    original = importlib.util.find_spec
    monkeypatch.setattr("lt_det.doctor.environment.find_spec", lambda name: None if name == missing else original(name))
    (finding,) = [finding for finding in examine_environment() if finding.subject == missing]
    assert finding.fatal == fatal
    assert finding.found == "not installed"
    assert f"pip install {missing}" in finding.advice


def test_a_package_that_lacks_another_is_not_blamed(tmp_path, monkeypatch):
    """Its advice is to install what it lacks."""
    (tmp_path / "lvis.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lvis", raising=False)
    (finding,) = [finding for finding in examine_environment() if finding.subject == "lvis"]
    assert "no_such_package" in finding.found
    assert "no_such_package" in finding.advice


def test_compiled_operators_that_do_not_load(monkeypatch):
    original = importlib.import_module

    def fail(name, *args):
        if name == "detectron2._C":
            raise ImportError("undefined symbol", name="libtorch")
        return original(name, *args)

    monkeypatch.setattr(importlib, "import_module", fail)
    (finding,) = [finding for finding in examine_environment() if finding.subject == "compiled ops"]
    assert finding.found == "do not load: undefined symbol"


# -------------------------------------------------------------------------------------------------- configs


def test_a_config_without_mistakes(config, caplog):
    with caplog.at_level(logging.INFO):
        findings = examine(config)
    assert not [finding for finding in findings if finding.advice]
    found = {finding.subject: finding.found for finding in findings}
    assert found["sampling"] == "TrainingSampler"
    assert found["classes"].startswith("12 in ")
    assert found["evaluation"].endswith("_val has the classes of training")
    assert not caplog.records
    assert logging.root.manager.disable == 0
    assert not (config.parent / "output").exists()


def test_augmented_evaluation_is_no_mistake(config):
    assert not [finding for finding in examine(config, "TEST.AUG.ENABLED", "True") if finding.fatal]


def test_a_registered_set_that_the_training_does_not_use(config, tmp_path):
    """It is for a later command, which would fail after the training."""
    name = f"{tmp_path.name}_test"
    config.write_text(config.read_text().replace("REGISTER:", f"REGISTER:\n    {name}: {{JSON: tset.json, IMAGES: .}}"))
    (found,) = [finding for finding in examine(config) if finding.subject == name]
    assert "tset.json" in found.advice
    assert not found.fatal


def test_sets_that_a_script_registers(config, mini, tmp_path):
    text = config.read_text()
    unknown = text.replace(f'TRAIN: ("{tmp_path.name}_train",)', 'TRAIN: ("registered_elsewhere",)')
    config.write_text(unknown.replace(f'TEST: ("{tmp_path.name}_val",)', f'TEST: ("{tmp_path.name}_val", "another")'))
    findings = examine(config)
    (advised,) = [finding for finding in findings if finding.advice]
    assert advised.found == "registered_elsewhere, another: not registered by this config"
    assert "DATASETS.REGISTER" in advised.advice
    assert "a script of your own" in advised.advice
    assert not advised.fatal
    subjects = [finding.subject for finding in findings]
    assert {"network", "evaluation", f"{tmp_path.name}_val"} <= set(subjects)
    assert not {"classes", "sampling"} & set(subjects)
    ((subject, advice),) = fatal(config, "MODEL.LONG_TAIL.REWEIGHTING.START", "half")
    assert (subject, advice[:36]) == ("re-weighting", "MODEL.LONG_TAIL.REWEIGHTING.START is")
    counted = examine(config, "MODEL.LONG_TAIL.CLASS_STATS", mini.train_json, "MODEL.ROI_HEADS.NUM_CLASSES", 80)
    assert [finding.subject for finding in counted if finding.fatal] == ["classes"]


def test_a_network_that_a_script_registers(config):
    (advised,) = [
        finding for finding in examine(config, "MODEL.BACKBONE.NAME", "registered_elsewhere") if finding.advice
    ]
    assert not advised.fatal
    assert "'registered_elsewhere'" in advised.found
    assert "a script of your own" in advised.advice


@pytest.mark.parametrize(
    ("opts", "subject", "advice"),
    [
        (["MODEL.LONG_TAIL.REWEIGHTING.START", "half"], "re-weighting", "START is half; write first_lr_step"),
        (["MODEL.LONG_TAIL.REWEIGHTING.START", "800"], "re-weighting", "START is 800; write first_lr_step"),
        (["MODEL.LONG_TAIL.REWEIGHTING.WEIGHTS", "sqrt"], "re-weighting", "START is None"),
        (
            ["DATALOADER.SAMPLER_TRAIN", "ClassAwareTrainingSampler", "DATALOADER.SAMPLER_START", "900"],
            "re-sampling",
            "SAMPLER_START is 900",
        ),
        (["DATALOADER.SAMPLER_START", "0.5"], "re-sampling", "is the plain TrainingSampler"),
        (["DATALOADER.SAMPLER_TRAIN", "Sampler"], "sampling", "There is no sampler 'Sampler'"),
        (["MODEL.ROI_HEADS.NUM_CLASSES", "80"], "classes", "set MODEL.ROI_HEADS.NUM_CLASSES to 12"),
        (["MODEL.WEIGHTS", "gone.pth"], "weights", "MODEL.WEIGHTS gone.pth does not exist"),
        (["MODEL.WEIGHTS", "."], "weights", "it is a folder; give the checkpoint in it"),
        (["MODEL.LONG_TAIL.SECOND_STAGE.METHOD", "crt"], "weights", "needs the network of a finished training"),
        (["MODEL.LONG_TAIL.CLASSIFIER", "round"], "network", "CLASSIFIER is 'round'"),
        (["MODEL.ROI_HEADS.NAME", "StandardROIHeads"], "network", "LOSS.NAME is eql"),
        (["SOLVER.LR_SCHEDULER_NAME", "Never"], "network", "Never"),
        (["MODEL.ROI_HEADS.IN_FEATURES", "['p3', 'p4']"], "network", "ROI_HEADS.IN_FEATURES names 'p4', which"),
        (["MODEL.RPN.IN_FEATURES", "['p9']"], "network", "RPN.IN_FEATURES names 'p9', which"),
        (["TEST.BUCKETS.MAP", "gone.json"], "buckets", "The bucket map gone.json does not exist; check the path"),
        (["TEST.BUCKETS.EQUAL_GROUPS", "13"], "buckets", "into 13 groups; write a number from 1 to 12"),
        (["TEST.RESAMPLES", "1"], "evaluation", "TEST.RESAMPLES is 1"),
        (["SOLVER.ACCUMULATE", "3"], "batch", "make it a multiple of 3"),
        (["SOLVER.REFERENCE_WORLD_SIZE", "3"], "config", "SOLVER.REFERENCE_WORLD_SIZE is 3"),
        (["SOLVER.AMP.ENABLED", "True"], "device", "needs a GPU"),
        (["SOLVER.AMP.PRECISION", "float8"], "device", "PRECISION (LazyConfig: train.amp.precision) is 'float8'"),
        (["MODEL.DEVICE", "abacus"], "device", "There is no device 'abacus'"),
        (["OUTPUT_DIR", "/dev/null/output"], "OUTPUT_DIR", "cannot be written"),
        (["MODEL.LONG_TAIL.LOSS.NAME", "hinge"], "config", "There is no loss 'hinge'"),
        (["MODEL.WEIGHTS"], "config", "MODEL.WEIGHTS has no value"),
        # Detectron2 then also fails on an assertion without a text, and on an index.
        (["MODEL.LOAD_PROPOSALS", "True", *PRECOMPUTED], "keys", "has 0 files for 1 dataset"),
    ],
)
def test_one_mistake_is_one_fatal_finding(config, opts, subject, advice):
    found = fatal(config, *opts)
    assert len(found) == 1, found
    ((found_subject, found_advice),) = found
    assert found_subject == subject
    assert advice in found_advice


def test_weights_at_an_address(config, tmp_path, monkeypatch):
    """They are reached, but not downloaded; in the cache they need no network, and are opened."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    address = f"http://127.0.0.1:{free_port()}/zoo/a.pth"
    ((subject, advice),) = fatal(config, "MODEL.WEIGHTS", address)
    assert subject == "weights"
    assert f"put the file at {tmp_path}/cache/zoo/a.pth" in advice
    (tmp_path / "cache" / "zoo").mkdir(parents=True)
    torch.save({"weight": torch.ones(1)}, tmp_path / "cache" / "zoo" / "a.pth")
    assert not fatal(config, "MODEL.WEIGHTS", address)
    (tmp_path / "cache" / "zoo" / "a.pth").write_bytes(b"corrupt")
    ((subject, advice),) = fatal(config, "MODEL.WEIGHTS", address)
    assert "a.pth" in advice


def test_missing_datasets_can_be_had_with_commands(tmp_path, monkeypatch):
    """The advice is a command that the parser accepts, with the folder that was searched."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    missing = [finding for finding in examine_environment() if str(tmp_path) in finding.found]
    commands = [finding.advice.partition("lt-det ")[2].split() for finding in missing]
    assert [command[:2] for command in commands] == [["download", "lvis"]] * 2 + [
        ["download", "coco"],
        ["mini-lvis", f"{tmp_path}/mini_lvis"],
    ]
    for command in commands:
        _parser().parse_args(command)
    assert all(str(tmp_path) in command[-1] for command in commands)


def test_an_empty_datasets_variable_names_the_working_directory(tmp_path, monkeypatch):
    """As it does for the datasets that Detectron2 registers itself."""
    monkeypatch.setenv("DETECTRON2_DATASETS", "")
    monkeypatch.chdir(tmp_path)
    (coco,) = (finding for finding in examine_environment() if finding.subject == "COCO")
    assert "no coco/annotations/" in coco.found
    assert "is empty" in coco.found


def test_weights_on_disk(config, tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "first.pth")
    assert not fatal(config, "MODEL.WEIGHTS", f"{tmp_path}/first.pth")
    assert not fatal(config, "MODEL.WEIGHTS", f"{tmp_path}/first.pth?matching_heuristics=True")


def test_buckets_that_do_not_fit_the_classes(config, tmp_path):
    (tmp_path / "map.json").write_text('{"no such class": "rare"}')
    ((subject, advice),) = fatal(config, "TEST.BUCKETS.MAP", tmp_path / "map.json")
    assert subject == "buckets"
    assert "a class 'no such class'" in advice


def test_a_bucket_map_is_checked_against_the_classes_of_evaluation(config, tmp_path):
    """Where a script registers the training set, doctor knows no other classes."""
    text = config.read_text()
    config.write_text(text.replace(f'TRAIN: ("{tmp_path.name}_train",)', 'TRAIN: ("registered_elsewhere",)'))
    (tmp_path / "map.json").write_text('{"no such class": "rare"}')
    ((subject, advice),) = fatal(config, "TEST.BUCKETS.MAP", tmp_path / "map.json")
    assert subject == "evaluation"
    assert "no such class" in advice
    assert not fatal(config, "TEST.BUCKETS.EQUAL_GROUPS", 3)


def test_options_of_weights_that_are_off(config):
    (advised,) = [finding for finding in examine(config, "MODEL.LONG_TAIL.REWEIGHTING.BETA", "0.99") if finding.advice]
    assert (advised.subject, advised.fatal) == ("re-weighting", False)
    assert "BETA 0.99" in advised.advice


def test_classes_in_another_order(config, replaced):
    def swap(data):
        first, second = data["categories"][:2]
        first["name"], second["name"] = second["name"], first["name"]

    replaced(config, "val", swap)
    ((subject, advice),) = fatal(config)
    assert subject == "evaluation"
    assert "Class 0 is" in advice


def test_other_classes(config, replaced):
    replaced(config, "val", lambda data: data["categories"].append({"id": 999, "name": "extra"}))
    ((subject, advice),) = fatal(config)
    assert subject == "evaluation"
    assert "has 13 classes" in advice


@pytest.mark.parametrize("part", ["train", "val"])
def test_missing_images(config, replaced, part):
    def lose(data):
        for image in data["images"][:2]:
            image["file_name"] = "gone.jpg"

    replaced(config, part, lose)
    (finding,) = [finding for finding in examine(config) if finding.fatal]
    assert finding.subject.endswith(part)
    assert ": 2, the first: image " in finding.found
    assert "gone.jpg does not exist" in finding.found
    assert "lt-det stats" in finding.advice


def test_annotations_of_no_image(config, replaced):
    replaced(config, "train", lambda data: data["annotations"][0].update(image_id=10**6))
    (finding,) = [finding for finding in examine(config) if finding.fatal]
    assert "image 1000000 is not in 'images'" in finding.found


def test_harmless_mistakes(config, replaced):
    def flatten(data):
        for annotation in data["annotations"][:3]:
            annotation["bbox"] = [1, 1, 0, 5]

    replaced(config, "train", flatten)
    (finding,) = [finding for finding in examine(config) if finding.advice]
    assert not finding.fatal
    assert finding.found.startswith("harmless mistakes: 3, the first: annotation ")
    assert "has no area" in finding.found


def test_mistakes_that_training_does_not_repair(config, replaced):
    def shrink(data):
        for annotation in data["annotations"]:
            annotation["area"] = 0.5

    replaced(config, "train", shrink)
    (finding,) = [finding for finding in examine(config) if finding.advice]
    assert not finding.fatal
    assert "'area' that does not fit" in finding.found
    assert "repairs" not in finding.advice


def test_an_annotation_file_that_is_truncated_or_missing(config, tmp_path, mini):
    config.write_text(config.read_text().replace(str(mini.train_json), f"{tmp_path}/truncated.json"))
    ((subject, advice),) = fatal(config)
    assert subject.endswith("_train")
    assert "truncated.json of the dataset" in advice
    assert "does not exist" in advice
    (tmp_path / "truncated.json").write_text('{"images": [')
    ((subject, advice),) = fatal(config)
    assert subject.endswith("_train")
    assert "not valid json" in advice


def test_mask_training_on_a_set_without_masks(config, replaced):
    replaced(config, "train", lambda data: [annotation.pop("segmentation") for annotation in data["annotations"]])
    assert not fatal(config)
    ((subject, advice),) = fatal(config, "MODEL.MASK_ON", "True")
    assert subject == "sampling"
    assert "no annotation of" in advice
    assert "set MODEL.MASK_ON to False" in advice


def test_training_images_without_annotations(config, replaced):
    replaced(config, "train", lambda data: data["annotations"].clear())
    ((subject, advice),) = fatal(config)
    assert subject == "sampling"
    assert advice


def test_counts_of_lvis_without_its_files(config, tmp_path):
    """Its counts are in Detectron2's metadata: both the wrong NUM_CLASSES and the missing files are reported."""
    config.write_text(config.read_text().replace(f'TRAIN: ("{tmp_path.name}_train",)', 'TRAIN: ("lvis_v1_train",)'))
    assert {"classes", "lvis_v1_train"} <= {subject for subject, _ in fatal(config)}


def test_how_often_a_large_file_is_read(config, mini, monkeypatch, tmp_path):
    """To look for mistakes, to fill the cache, where a training finds it, and to evaluate."""
    monkeypatch.setenv("LT_DET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(record_cache, "WORTH_CACHING", 0)
    read = []

    class Counting(coco_json.JsonSections):
        def __init__(self, json_file, what):
            super().__init__(json_file, what)
            self.json_file = str(json_file)

        def pieces(self, name):
            if name == "annotations":
                read.append(self.json_file)
            return super().pieces(name)

    monkeypatch.setattr(coco_json, "JsonSections", Counting)  # with which every annotation file is read
    assert not fatal(config)
    assert (read.count(str(mini.train_json)), read.count(str(mini.val_json))) == (2, 3)
    assert list((tmp_path / "cache").glob("*.records"))


def test_overrides_on_the_command_line(config, capsys):
    assert main(["doctor", "--config", str(config), "MODEL.ROI_HEADS.NUM_CLASSES", "80"]) == 1
    assert "set MODEL.ROI_HEADS.NUM_CLASSES to 12" in capsys.readouterr().out
    assert main(["doctor", "--config", str(config), "SOLVER.IMS_PER_BATCH", "4"]) == 0
    assert "4 images" in capsys.readouterr().out
    assert main(["doctor", "SOLVER.IMS_PER_BATCH", "4"]) == 1
    assert "add --config FILE" in capsys.readouterr().err


def test_settings_without_effect_and_repeated_sets_are_advised(config, tmp_path):
    train = f"{tmp_path.name}_train"
    findings = examine(config, "SOLVER.BASE_LR_END", "0.001", "DATASETS.TRAIN", f"('{train}', '{train}')")
    advice = {finding.subject: finding.advice for finding in findings if finding.advice}
    assert "SOLVER.BASE_LR_END 0.001 has no effect" in advice["keys"]
    assert "list it once" in advice["datasets"]


def test_nothing_to_balance_is_advised(config):
    """Buckets, loss and sampler that treat all classes of this set alike."""
    options = ("TEST.BUCKETS.EDGES", "[100000]", "MODEL.LONG_TAIL.LOSS.EQL.FREQUENCY_THRESHOLD", 1e-5)
    sampler = ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.REPEAT_THRESHOLD", 1e-5)
    findings = {finding.subject: finding for finding in examine(config, *options, *sampler)}
    assert not any(finding.fatal for finding in findings.values())
    for subject, key in (
        ("buckets", "TEST.BUCKETS.EQUAL_GROUPS 3"),
        ("loss", "MODEL.LONG_TAIL.LOSS.EQL.FREQUENCY_THRESHOLD to"),
        ("sampling", "DATALOADER.REPEAT_THRESHOLD 1e-05"),
    ):
        assert key in findings[subject].advice, subject
