"""Every command that reads a config or weights refuses files with a program in them, and runs none of it."""

import argparse
import shutil

import pytest

from lt_det.cli import main
from lt_det.errors import exit_code_of
from lt_det.training import argument_parser, run
from tests.helpers import load_tool
from tests.helpers.frozen_detector import write_detector
from tests.helpers.hostile import hostile_config, hostile_weights


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The config of a small detector, beside its data and weights."""
    return write_detector(tmp_path_factory.mktemp("hostile"))


def train(*words):
    args = argument_parser().parse_args(list(words))
    return run(load_tool("train_net").main, args)


def tool(name, *words):
    module = load_tool(name)
    args: argparse.Namespace = module.parser().parse_args(list(words))
    return exit_code_of(lambda: module.main(args), traceback=False)


def commands(config, folder, out):
    """The commands by name: functions of the overrides.

    Args:
        config: of the detector, or a hostile one.
        folder: with images.
        out: a new folder for results.
    """
    given, output = ["--config", str(config)], ["OUTPUT_DIR", str(out / "output")]
    draw = [*given, "--input", str(folder / "val0.png"), "--output", str(out / "drawn")]
    export = [*given, "--sample-image", str(folder / "val0.png"), "--output", str(out / "exported")]
    tau_norm = ["MODEL.LONG_TAIL.CALIBRATION.METHOD", "tau_norm"]
    return {
        "doctor": lambda *opts: main(["doctor", *given, *output, *opts]),
        "adjust": lambda *opts: main(["adjust", *given, *output, *tau_norm, *opts]),
        "diagnose": lambda *opts: main(["diagnose", *given, *output, *opts]),
        "bakeoff": lambda *opts: main(["bakeoff", *given, *output, *opts]),
        "train": lambda *opts: train(*given, *output, "SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()", *opts),
        "evaluate": lambda *opts: train(*given, "--eval-only", *output, *opts),
        "demo": lambda *opts: tool("demo", *draw, *opts),
        "export": lambda *opts: tool("export", *export, *opts),
    }


NAMES = ["doctor", "adjust", "diagnose", "bakeoff", "train", "evaluate", "demo", "export"]


@pytest.mark.parametrize("name", NAMES)
def test_configs(name, detector, tmp_path, capsys):
    created = tmp_path / "created"
    hostile = hostile_config(tmp_path / "hostile.yaml", created, str(detector))
    assert commands(hostile, detector.parent, tmp_path)[name]() == 1
    said = capsys.readouterr()
    assert f"{hostile}, line 2: OUTPUT_DIR has the tag !!python/object/apply:os.system" in said.out + said.err
    assert "--allow-unsafe-config" in said.out + said.err
    assert not created.exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", ["new.pth", "zoo.pkl"])
def test_weights(name, weights, detector, tmp_path, capsys):
    created = tmp_path / "created"
    (hostile,) = [file for file in hostile_weights(tmp_path, created) if file.name == weights]
    assert commands(detector, detector.parent, tmp_path)[name]("MODEL.WEIGHTS", str(hostile)) == 1
    said = capsys.readouterr()
    assert f"{hostile} hold more than weights and plain values: posix.system" in said.out + said.err
    assert "lt-det strip-weights" in said.out + said.err
    assert not created.exists()


def test_the_config_of_a_run_and_a_list_of_candidates(detector, tmp_path, capsys):
    created = tmp_path / "created"
    hostile = hostile_config(tmp_path / "config.yaml", created, str(detector))
    shutil.copy(detector.parent / "model_final.pth", tmp_path)
    for command in ("diagnose", "bakeoff"):
        assert main([command, str(tmp_path)]) == 1
        assert f"{hostile}, line 2" in capsys.readouterr().err
    words = ["--config", str(detector), "--candidates", str(hostile), "OUTPUT_DIR", str(tmp_path / "out")]
    assert main(["bakeoff", *words]) == 1
    assert f"{hostile}, line 2" in capsys.readouterr().err
    assert not created.exists()


def test_the_option_runs_what_a_config_says(detector, tmp_path, capsys):
    """Doctor, whose log is quiet, says it in a finding."""
    created = tmp_path / "created"
    hostile = hostile_config(tmp_path / "hostile.yaml", created, str(detector))
    hostile.write_text(hostile.read_text().replace("OUTPUT_DIR", "SEED"))
    main(["doctor", "--config", str(hostile), "--allow-unsafe-config", "OUTPUT_DIR", str(tmp_path / "out")])
    assert "--allow-unsafe-config: code" in capsys.readouterr().out
    assert created.exists()
