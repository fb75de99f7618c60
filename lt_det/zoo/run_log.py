"""What log.txt says of a run: the config it names, the machine, and the config of each start."""

from __future__ import annotations

import ast
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_COLOR = re.compile("\x1b\\[[0-9;]*m")
_ENTRY = re.compile(r"^\[\d\d/\d\d \d\d:\d\d:\d\d\] ", re.MULTILINE)
_CONFIG = "Running with full config:\n"
_ARGUMENTS = "Command line arguments: "
_OURS = re.compile(r" INFO: lt_det \S+, commit (\S+), processor (.*), (\d+ threads?)$", re.MULTILINE)
_WORLD = re.compile(r"Rank of current process: \d+\. World size: (\d+)")
_GPU = re.compile(r"^GPU [\d,]+ +(.+?)(?: \(arch=.*\))?$", re.MULTILINE)
_VERSIONS = {"torch": "PyTorch", "detectron2": "detectron2", "python": "Python", "cuda": "CUDA_HOME"}


@dataclass(frozen=True)
class RunLog:
    """
    Attributes:
        config_file: that the last start was given; None if the log does not say it.
        configs: the content of the full config of each start.
        commit, hardware: of the last start; None if the log does not say them.
        software: versions by package.
    """

    config_file: str | None
    configs: list[dict[str, Any]]
    commit: str | None
    hardware: str | None
    software: dict[str, str]


def read_log(file: Path) -> RunLog:
    """What a log.txt says; nothing of it is required, and a missing file says nothing."""
    text = _COLOR.sub("", file.read_text(errors="replace")) if file.is_file() else ""
    starts = [match.start() for match in _ENTRY.finditer(text)]
    entries = [text[start:end] for start, end in itertools.pairwise([*starts, len(text)])]
    ours = _OURS.findall(text)
    commit, processor, threads = ours[-1] if ours else (None, None, None)
    return RunLog(
        config_file=next(filter(None, map(_config_file, reversed(entries))), None),
        configs=[config for config in map(_full_config, entries) if config],
        commit=None if commit == "unknown" else commit,
        hardware=_hardware(text, processor, threads),
        software=_versions(text),
    )


def _config_file(entry: str) -> str | None:
    """The config among the arguments that Detectron2 logs as ``Namespace(config_file='...', ...)``."""
    _, found, arguments = entry.partition(_ARGUMENTS)
    if not found:
        return None
    try:
        call = ast.parse(arguments.strip(), mode="eval").body
        keywords = call.keywords if isinstance(call, ast.Call) else []
        values = [ast.literal_eval(word.value) for word in keywords if word.arg == "config_file"]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return str(values[0]) if values and values[0] else None


def _full_config(entry: str) -> dict[str, Any] | None:
    _, found, content = entry.partition(_CONFIG)
    if not found:
        return None
    try:
        config = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def _hardware(text: str, processor: str | None, threads: str | None) -> str | None:
    """Such as "8 x NVIDIA A100-SXM4-80GB", or "Intel Xeon, 2 processes of 1 thread"."""
    worlds = _WORLD.findall(text)
    if not worlds:
        return None
    number = int(worlds[-1])
    if gpus := _GPU.findall(text):
        return f"{number} x {gpus[-1]}"
    per_process = f" of {threads}" if threads else ""
    processes = f", {number} processes{per_process}" if number > 1 else f", {threads}" if threads else ""
    return f"{processor or 'CPU'}{processes}"


def _versions(text: str) -> dict[str, str]:
    found = {}
    for package, label in _VERSIONS.items():
        if lines := re.findall(rf"^{label} +(\d\S*)", text, re.MULTILINE):
            found[package] = lines[-1]
    return found
