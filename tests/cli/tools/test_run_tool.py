"""`lt-det train` and the other programs of tools/ as subcommands, and `lt-det --version`."""

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys

import pytest

import lt_det
from lt_det.cli import main
from lt_det.cli.tools import HELP
from lt_det.training import argument_parser
from lt_det.training.launch import programs
from tests.helpers import REPOSITORY, load_tool

SMALL = ["SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()", "SOLVER.IMS_PER_BATCH", "4", "DATALOADER.NUM_WORKERS", "0"]
SMALL += ["MODEL.ROI_HEADS.NUM_CLASSES", "12", "DATASETS.TEST", "()"]


def test_versions(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"lt_det {lt_det.__version__}, Python {sys.version.split()[0]}, ")
    for name, package in (("torch", "torch"), ("Detectron2", "detectron2")):
        assert f"{name} {importlib.metadata.version(package)}" in printed


def test_every_tool_has_a_script_and_a_line_of_help(capsys):
    for name in HELP:
        assert callable(importlib.import_module(f"lt_det.cli.tools.{name.replace('-', '_')}").run)
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(re.search(rf"^ +{name}\s", printed, re.MULTILINE) for name in HELP)


@pytest.mark.parametrize("name", HELP)
def test_options_are_those_of_the_script(name, capsys):
    """Whatever stands behind the name is for the tool, and its help names the subcommand."""
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    usage = " ".join(capsys.readouterr().out.split())
    assert usage.startswith(f"usage: lt-det {name} ")


def test_train_has_the_options_of_train_net():
    mine, theirs = argument_parser("lt-det train"), argument_parser()
    assert [action.option_strings for action in mine._actions] == [action.option_strings for action in theirs._actions]


def test_the_scripts_are_the_subcommands():
    from lt_det.cli.tools import demo, export

    assert load_tool("train_net").main is programs.train_yaml
    assert load_tool("lazyconfig_train_net").main is programs.train_lazy
    assert (load_tool("demo").main, load_tool("demo").parser) == (demo.main, demo.parser)
    assert (load_tool("export").main, load_tool("export").parser) == (export.main, export.parser)


def test_a_mistake_is_one_sentence(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", "mini_lvis_eqll"]) == 1
    error = capsys.readouterr().err
    assert "mini_lvis_eqll does not exist" in error
    assert len(error.splitlines()) == 1
    with pytest.raises(lt_det.LtDetError, match="mini_lvis_eqll does not exist"):
        main(["--traceback", "train", "--config", "mini_lvis_eqll"])


@pytest.mark.parametrize("name", HELP)
def test_each_program_takes_the_option_of_lt_det(capsys, name):
    with pytest.raises(SystemExit) as ended:
        main(["--traceback", name, "--help"])
    assert ended.value.code == 0
    assert "--traceback" in capsys.readouterr().out


def test_a_missing_detectron2_is_one_sentence(capsys, monkeypatch):
    """As `lt_det.training` says it where Detectron2 is missing."""

    def missing(name):
        raise ImportError(f"lt_det.{name} needs torch and Detectron2")

    monkeypatch.delattr(lt_det, "training", raising=False)
    monkeypatch.setattr(lt_det, "__getattr__", missing)
    assert main(["train", "--config", "mini_lvis_eql"]) == 1
    assert capsys.readouterr().err == "error: lt_det.training needs torch and Detectron2\n"


def test_train_takes_yaml_configs_and_lazy_configs(monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(programs, "train_yaml", lambda args: trained.append(("yaml", args.config_file)))
    monkeypatch.setattr(programs, "train_lazy", lambda args: trained.append(("lazy", args.config_file)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
    for config in ("mini_lvis_eql", "lazy/mini_lvis_eql", "mine.py"):
        assert main(["train", "--config", config]) == 0
    assert trained == [("yaml", "mini_lvis_eql"), ("lazy", "lazy/mini_lvis_eql"), ("lazy", "mine.py")]


@pytest.mark.slow
def test_a_shipped_config_trains_from_an_empty_folder(mini, datasets_root, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "lt_det.cli", "train", "--config", "mini_lvis_eql", *SMALL],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "DETECTRON2_DATASETS": str(datasets_root),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output/mini_lvis_eql/model_final.pth").is_file()
    log = (tmp_path / "output/mini_lvis_eql/log.txt").read_text()
    assert f"Contents of args.config_file={REPOSITORY / 'configs' / 'mini_lvis_eql.yaml'}" in log
