"""The lt-det command."""

import json
import os
import subprocess
import sys

import cv2
import pytest
import torch

from lt_det.cli import main
from tests.helpers.evaluations import evaluation, write_run


def run(capsys, *arguments):
    code = main([str(word) for word in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_stats(capsys, mini, tmp_path):
    code, out, _ = run(capsys, "stats", mini.train_json, "--images", mini.image_root, "--plot", tmp_path / "a.png")
    assert code == 0
    assert "12 classes, 400 annotated images" in out
    assert all(name in out for name in ("rare", "common", "frequent"))
    assert cv2.imread(str(tmp_path / "a.png")).std() > 5


def test_stats_of_real_files(capsys, taco, lvis_sample):
    code, out, _ = run(capsys, "stats", taco)
    assert code == 0
    assert "60 classes, 1500 annotated images, 4784 instances" in out
    assert "1 class without annotation: Plastified paper bag" in out
    code, out, _ = run(capsys, "stats", lvis_sample, "--groups", "3", "--by", "instances")
    assert code == 0
    assert "group2" in out


def test_stats_of_saved_counts(capsys, mini, tmp_path):
    from lt_det.statistics.class_stats import ClassStats

    ClassStats.from_json(mini.train_json).save(tmp_path / "class_stats.json")
    code, out, _ = run(capsys, "stats", tmp_path / "class_stats.json", "--edges", "50")
    assert code == 0
    assert "0-50" in out
    code, _, err = run(capsys, "stats", tmp_path / "class_stats.json", "--images", tmp_path)
    assert code == 1
    assert "class_stats.json holds counts" in err
    names = ClassStats.from_json(mini.train_json).names
    (tmp_path / "map.json").write_text(json.dumps(dict.fromkeys(names, "all of them")))
    code, out, _ = run(capsys, "stats", mini.train_json, "--bucket-map", tmp_path / "map.json")
    assert code == 0
    assert "all of them" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), ("", "is empty"), ('{"images": [', "not valid json"), ("{}", "has no list 'images'")],
)
def test_stats_of_a_broken_file(capsys, tmp_path, content, message):
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_text(content)
    code, out, err = run(capsys, "stats", path)
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_stats_with_a_chart_that_cannot_be_written(capsys, mini, tmp_path):
    code, _, err = run(capsys, "stats", mini.train_json, "--plot", tmp_path / "gone" / "a.png")
    assert code == 1
    assert "a.png cannot be written" in err
    code, _, err = run(capsys, "stats", mini.train_json, "--plot", tmp_path / "a.docx")
    assert code == 1
    assert "a.docx cannot be written" in err


def test_traceback_on_request(tmp_path):
    from lt_det.errors import LtDetError

    with pytest.raises(LtDetError):
        main(["--traceback", "stats", str(tmp_path / "gone.json")])


def test_mini_lvis(capsys, tmp_path):
    size = ["--num-train", "120", "--num-val", "12", "--num-classes", "12"]
    code, out, _ = run(capsys, "mini-lvis", tmp_path / "mini", *size, "--seed", "3")
    assert code == 1  # twelve classes on so few images leave a bucket empty
    code, out, err = run(
        capsys, "mini-lvis", tmp_path / "mini", "--num-train", 400, "--num-val", 12, "--num-classes", 12
    )
    assert code == 0, err
    assert "mini_lvis_train.json" in out
    assert len(json.loads((tmp_path / "mini" / "mini_lvis_train.json").read_text())["images"]) == 400
    size = ["--num-train", 50, "--num-val", 10, "--num-classes", 6]
    code, out, err = run(capsys, "mini-lvis", tmp_path / "step", *size, "--imbalance", "step", "--ratio", 10)
    assert code == 0, err
    assert "6 classes (3 rare, 3 common, 0 frequent), 2 to 20 training images each (ratio 10), 8 validation" in out
    code, _, err = run(capsys, "mini-lvis", tmp_path / "none", *size, "--ratio", 10)
    assert code == 1
    assert "needs an imbalance" in err


def test_report_of_nothing(capsys, tmp_path):
    code, _, err = run(capsys, "report", tmp_path)
    assert code == 1
    assert "train there first" in err


def test_the_page_of_the_report_is_named(capsys, tmp_path):
    code, out, err = run(capsys, "report", write_run(tmp_path, evaluation()))
    assert code == 0, err
    assert out.endswith(f"\nReport: {tmp_path}/report/report.html\n")


def test_doctor(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    for subject in ("torch", "torchvision", "detectron2", "compiled ops", "GPU", "LVIS v1", "COCO", "mini_lvis"):
        assert subject in out


def test_doctor_where_torch_is_older_than_numpy(capsys, monkeypatch):
    def not_available(array):
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch, "from_numpy", not_available)
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "pip install 'numpy<2', or a newer torch" in out


def test_doctor_checks_a_config_against_its_data(capsys, mini, tmp_path):
    config = tmp_path / "mine.yaml"
    text = (
        "MODEL: {{ROI_HEADS: {{NUM_CLASSES: {k}}}, DEVICE: cpu}}\n"
        f"DATASETS: {{{{REGISTER: {{{{doctor_set: {{{{JSON: {mini.train_json}, IMAGES: {mini.image_root}}}}}}}}}, "
        'TRAIN: ["doctor_set"], TEST: []}}\n'
    )
    config.write_text(text.format(k=12))
    code, out, _ = run(capsys, "doctor", "--config", config)
    assert code == 0, out
    assert "12 in doctor_set" in out
    config.write_text(text.format(k=80))
    code, out, _ = run(capsys, "doctor", "--config", config)
    assert code == 1
    assert "set MODEL.ROI_HEADS.NUM_CLASSES to 12" in out


def test_doctor_on_a_server_without_libgl(tmp_path):
    """A cv2 that fails to import as it does there takes Detectron2 with it, and not the doctor."""
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text('raise ImportError("libGL.so.1: cannot open shared object file")')
    result = subprocess.run(
        [sys.executable, "-m", "lt_det.cli", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "does not import: libGL.so.1" in result.stdout
    assert "opencv-python-headless" in result.stdout


def test_a_warning_of_lt_det_is_its_sentence(tmp_path):
    """And that of another package says where it comes from."""
    program = (
        "import logging, sys, warnings; from lt_det import cli; from lt_det.cli.annotations import stats; "
        "stats.add_parser.__globals__['run'] = lambda args: ("
        "warnings.warn_explicit('3 classes', UserWarning, cli.__file__, 7), "
        "warnings.warn_explicit('deprecated', UserWarning, '/other/package.py', 8)) and 0; "
        f"sys.exit(cli.main(['stats', {str(tmp_path / 'a.json')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "WARNING: 3 classes\n" in done.stderr
    assert "package.py:8: UserWarning: deprecated" in done.stderr


def test_ctrl_c_while_the_command_is_imported(monkeypatch, capsys):
    class Interrupting:
        @staticmethod
        def find_spec(name, path, target=None):
            if name == "lt_det.cli.command_line":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "lt_det.cli.command_line")
    monkeypatch.setattr(sys, "meta_path", [Interrupting, *sys.meta_path])
    assert main(["stats", "a.json"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
