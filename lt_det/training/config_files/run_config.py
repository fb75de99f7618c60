"""The config.yaml that a training has written."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lt_det.io.atomic import write_atomically

logger = logging.getLogger(__name__)

NAME = "config.yaml"


class _Loader(yaml.SafeLoader):
    """Reads objects, such as the ShapeSpecs that Detectron2 writes for a LazyConfig, as the plain values in them."""

    def plain(self, tag: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.construct_mapping(node, deep=True)
        return self.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", _Loader.plain)


def config_in(folder: Path) -> Any:
    """Content of the config.yaml in a folder, of a yaml config or a LazyConfig; None if it is missing or unreadable.

    No code in the file runs.
    """
    try:
        return yaml.load((folder / NAME).read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None


@contextlib.contextmanager
def training_config_kept(folder: Path) -> Iterator[None]:
    """Context in which an evaluation may write config.yaml to a folder: afterwards, that of a training is there again.

    Other commands read it as the config of the weights in the folder. Detectron2's `default_setup` replaces it with the
    config of the evaluation, which may have another test set.
    """
    file, kept = folder / NAME, folder / f".{NAME}.{os.getpid()}"
    if not (_is_of_a_training(folder) and file.is_file()):
        yield
        return
    content = file.read_bytes()
    write_atomically(kept, content)  # a disk that is full refuses this before anything is lost
    try:
        yield
    finally:
        differs = not file.is_file() or file.read_bytes() != content
        kept.replace(file)
    if differs:
        logger.info("%s is kept as the training wrote it; the config of this evaluation is logged above.", file)


def _is_of_a_training(folder: Path) -> bool:
    return (folder / "metrics.json").exists() or any(folder.glob("*.pth"))
