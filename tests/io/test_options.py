"""Options that a command line has several times: no value is dropped without a word. Paths with ~ and $VARIABLES."""

import argparse
from pathlib import Path

import pytest

from lt_det.cli import main
from lt_det.cli.command_line import _parser
from lt_det.cli.options.buckets import add_bucket_options, bucket_options
from lt_det.cli.tools import demo, export
from lt_det.errors import LtDetError
from lt_det.io.options import Collected
from lt_det.training import argument_parser
from lt_det.training.config_files.shipped import config_path

PARSE = {
    "train": lambda words: argument_parser().parse_args(words),
    "demo": lambda words: demo.parser().parse_args(words),
    "export": lambda words: export.parser().parse_args(words),
    **{name: lambda words, name=name: main([name, *words]) for name in ("adjust", "bakeoff", "diagnose", "doctor")},
    "zoo": lambda words: main(["zoo", "check", *words]),
}


@pytest.mark.parametrize("command", PARSE)
def test_a_second_config_is_refused(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        PARSE[command](["--config", "a.yaml", "--config", "b.yaml"])
    assert stopped.value.code == 2
    assert "--config" in (last := capsys.readouterr().err.splitlines()[-1])
    assert "a.yaml and as b.yaml" in last


@pytest.mark.parametrize("second", ["--config", "--config-file", "--config=b.yaml"])
def test_both_names_of_the_config_are_one_option(second, capsys):
    words = ["--config-file", "a.yaml", *([second] if "=" in second else [second, "b.yaml"])]
    with pytest.raises(SystemExit):
        argument_parser().parse_args(words)
    assert "a.yaml and as b.yaml" in capsys.readouterr().err
    assert argument_parser().parse_args(words[:2]).config_file == "a.yaml"
    assert argument_parser().parse_args([]).config_file == ""


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        ("evaluate", "--results", ("a.json", "b.json")),
        ("evaluate", "--iou", ("bbox", "segm")),  # the first is the default
        ("evaluate", "--train-stats", ("a.json", "b.json")),
        ("split", "--val", ("0.2", "0.3")),
        ("subset", "--num-classes", ("3", "4")),
        ("export", "--format", ("torchscript", "onnx")),
        ("demo", "--output", ("a", "b")),
        ("zoo check", "--config", ("a.yaml", "b.yaml")),
    ],
)
def test_any_option_with_one_value_is_refused_twice(command, option, values, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), *(word for value in values for word in (option, value))])
    assert stopped.value.code == 2
    assert f"{option}: given twice, as {values[0]} and as {values[1]}" in capsys.readouterr().err


def test_paths_are_expanded(tmp_path, monkeypatch):
    """Also where the shell leaves them, as in --gt=~/val.json."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SET", "lvis")
    args = _parser().parse_args(
        ["evaluate", "--gt=~/$SET.json", "--results", "$SET.json", "--train-stats=~/a.json", "--bucket-map=~/b.json"]
    )
    assert (args.gt, args.results) == (tmp_path / "lvis.json", Path("lvis.json"))
    assert (args.train_stats, args.bucket_map) == (f"{tmp_path}/a.json", f"{tmp_path}/b.json")
    words = ["--config=c", "--weights=~/a.pth", "--output=~/out"]
    for args in (
        demo.parser().parse_args([*words, "--input=~/x"]),
        export.parser().parse_args([*words, "--sample-image=~/x"]),
    ):
        assert (args.weights, args.output) == (f"{tmp_path}/a.pth", f"{tmp_path}/out")
        assert vars(args).get("input", vars(args).get("sample_image")) == [f"{tmp_path}/x"]
    (tmp_path / "mine.yaml").write_text("VERSION: 2")
    assert config_path("~/mine.yaml") == f"{tmp_path}/mine.yaml"


def test_lists_are_collected():
    words = ["--config", "a", "--output", "o", "--input", "x", "y", "--input", "z"]
    assert demo.parser().parse_args(words).input == ["x", "y", "z"]
    words = ["--config", "a", "--output", "o", "--sample-image", "x", "--sample-image", "y", "z"]
    assert export.parser().parse_args(words).sample_image == ["x", "y", "z"]


def test_lists_replace_a_default():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, nargs="*", action=Collected, default=[1, 2])
    for words, expected in ((["--images", "3", "--images", "4", "5"], [3, 4, 5]), (["--images"], []), ([], [1, 2])):
        assert parser.parse_args(words).images == expected


def test_buckets_of_several_options():
    parser = argparse.ArgumentParser()
    add_bucket_options(parser)
    assert bucket_options(parser.parse_args(["--edges", "3", "--edges", "30"])).edges == [3, 30]
    with pytest.raises(LtDetError, match="--by instances has no effect with --bucket-map"):
        bucket_options(parser.parse_args(["--by", "instances", "--bucket-map", "map.json"]))
