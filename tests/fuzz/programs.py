"""The commands and tools that are fuzzed, as functions of their arguments that return an exit code."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lt_det.bakeoff.cache.cache import FeatureCache
from lt_det.bakeoff.detector import load_detector
from lt_det.cli import main
from lt_det.errors import exit_code_of
from lt_det.evaluation.bakeoff_schema import read_bakeoff
from lt_det.evaluation.diagnosis_schema import read_diagnosis
from lt_det.training import argument_parser, run
from lt_det.training.config_loading import config_of_detector
from lt_det.training.launch.single_process import run_single_process
from tests.helpers import REPOSITORY

Program = Callable[[list[str]], int]


def _tool(name: str) -> Any:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _user_of_a_model(name: str) -> Program:
    tool = _tool(name)
    return lambda words: run_single_process(tool.main, tool.parser().parse_args(words))


def _read(function: Callable[[Any], Any]) -> Program:
    """A function that raises an LtDetError, as if it were a command with one argument."""

    def program(words: Sequence[str]) -> int:
        return exit_code_of(lambda: print(function(words[0])), traceback=False)

    return program


def _columns(folder: str) -> list[Any]:
    """What a feature cache holds."""
    cache = FeatureCache.open(folder)
    tables = [cache.rois(stage) for stage in range(cache.num_stages)] + [cache.proposals(n) for n in cache.datasets]
    return [[str(value) for value in vars(table).values()] for table in tables]


PROGRAMS: dict[str, Program] = {
    "lt-det": main,
    "train_net": lambda words: run(_tool("train_net").main, argument_parser().parse_args(words)),
    "export": _user_of_a_model("export"),
    "demo": _user_of_a_model("demo"),
    # What `lt-det bakeoff RUN` does before it computes features.
    "detector": _read(lambda run_folder: type(load_detector(config_of_detector(None, [run_folder]))).__name__),
    "feature cache": _read(_columns),
    "bakeoff.json": _read(lambda file: read_bakeoff(Path(file))),
    "diagnosis.json": _read(lambda file: read_diagnosis(Path(file))),
}
