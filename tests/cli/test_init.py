"""`lt-det init`."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lt_det.cli import main
from tests.helpers.shapes_set import write_shapes


def run(capsys, *arguments):
    code = main(["init", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_what_was_seen_chosen_and_is_next(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, val = write_shapes(tmp_path, images=12), write_shapes(tmp_path, "val", images=4, start=20)
    code, out, err = run(capsys, train, "--val", val, "--out", "my config.yaml", "--small")
    assert (code, err) == (0, "")
    assert "Training: 12 images, 22 objects of 3 classes with 4 to 12 images each." in out
    assert "Validation: 4 images" in out
    assert f"The images were found in {tmp_path / 'images'}" in out
    after = out.partition("Next:")[2].split("\n")[1:5]
    words = [line.strip() for line in after]
    assert words[0] == "lt-det doctor --config 'my config.yaml'"
    assert words[1] == "lt-det train --config 'my config.yaml'"
    assert words[2:] == ["lt-det report 'output/my config'", "lt-det bakeoff 'output/my config'"]
    written = yaml.safe_load(Path("my config.yaml").read_text())
    assert written["DATASETS"]["TRAIN"] == ["my_config_train"]
    assert written["OUTPUT_DIR"] == "output/my config"


def test_a_test_set_is_registered_but_not_evaluated(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, val = write_shapes(tmp_path, images=8), write_shapes(tmp_path, "val", images=4, start=20)
    test = write_shapes(tmp_path, "test", images=4, start=30)
    code, out, err = run(capsys, train, "--val", val, "--test", test, "--out", "with_test.yaml", "--small")
    assert (code, err) == (0, "")
    sets = yaml.safe_load(Path("with_test.yaml").read_text())["DATASETS"]
    assert sets["REGISTER"]["with_test_test"] == {"JSON": str(test), "IMAGES": str(tmp_path / "images")}
    assert sets["TEST"] == ["with_test_val"]
    assert "No long tail: " in out
    weights = next(line for line in out.split("\n") if "imagenet-weights" in line).split()[-1]
    assert Path(weights).is_absolute()

    for options, said in (
        (["--val", val, "--test", val], "validation set"),
        (["--test", train], "training set"),
        (["--test", "absent.json"], "absent.json"),
        (["--test-images", tmp_path], "--test"),
    ):
        code, _, err = run(capsys, train, *options, "--out", "b.yaml", "--small")
        assert code == 1
        assert said in err
    assert list(tmp_path.glob("b*")) == []


def test_a_mistake_gives_one_sentence(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voc").mkdir()
    for arguments, said in (
        (["absent.json", "--out", "a.yaml"], "absent.json"),
        (["voc", "--out", "a.yaml"], "voc"),
        ([write_shapes(tmp_path), "--out", "a.json"], "--out a.json"),
    ):
        code, out, err = run(capsys, *arguments, "--small")
        assert (code, out) == (1, "")
        assert said in err
        assert len(err.strip().split("\n")) == 1
    with pytest.raises(SystemExit):
        run(capsys, "a.json", "--out", "a.yaml", "--small", "--weights", "b.pth")
    assert not Path("a.yaml").exists()


@pytest.mark.slow
def test_the_import_of_detectron2_is_quiet():
    command = [sys.executable, "-W", "default", "-c", "import lt_det.starting_config"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "torch.jit.script" not in done.stderr
