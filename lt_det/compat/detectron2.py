"""Detectron2, seen in release 0.6 (2022) and on the main branch: what its documented interface does not promise."""

from __future__ import annotations

import contextlib
import functools
import importlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data.common import MapDataset, ToIterableDataset
from detectron2.engine import SimpleTrainer, defaults
from detectron2.modeling.roi_heads import cascade_rcnn
from detectron2.utils.events import JSONWriter
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from lt_det.io.images import to_8_bits


def create_ddp_model(model: nn.Module, device: str, **options: Any) -> nn.Module:
    """The model in DistributedDataParallel where there are several processes.

    Detectron2's function gives each copy a GPU, which torch refuses for a model on the CPU.

    Args:
        model: not yet wrapped.
        device: of the model, such as "cuda" or "cpu".
        options: of DistributedDataParallel.
    """
    if torch.device(device).type == "cpu":
        options["device_ids"] = None
    wrapped: nn.Module = _original_create_ddp_model(model, **options)
    return wrapped


_original_create_ddp_model = defaults.create_ddp_model


@contextlib.contextmanager
def ddp_on(device: str) -> Iterator[None]:
    """Within, DefaultTrainer's constructor can wrap a model on the CPU, see `create_ddp_model`.

    Patched, because the constructor calls a global function of its module.
    """
    original = defaults.create_ddp_model
    defaults.create_ddp_model = functools.partial(create_ddp_model, device=device)
    try:
        yield
    finally:
        defaults.create_ddp_model = original


@contextlib.contextmanager
def without_logger_setup() -> Iterator[None]:
    """Within, DefaultTrainer's constructor leaves the loggers as they are.

    Patched, because it prints everything to the standard output where information is not logged.
    """
    original = defaults.setup_logger
    defaults.setup_logger = lambda *args, **options: None
    try:
        yield
    finally:
        defaults.setup_logger = original


@contextlib.contextmanager
def detections_of_cascades_by(select: Callable[..., Any]) -> Iterator[None]:
    """Within, CascadeROIHeads selects its detections by `select`, which has the arguments of `fast_rcnn_inference`.

    Patched, because it calls a global function of its module, and not the method of its box predictor.
    """
    original = cascade_rcnn.fast_rcnn_inference
    cascade_rcnn.fast_rcnn_inference = select
    try:
        yield
    finally:
        cascade_rcnn.fast_rcnn_inference = original


@contextlib.contextmanager
def parsed_already(parser: str, data: Any) -> Iterator[None]:
    """Within, `parser` gets `data` from ``json.load`` whatever file it opens.

    Patched, because Detectron2's dataset functions take a path only, and parsing a large json twice takes minutes.

    Args:
        parser: module that calls ``json.load``: "lvis.lvis" or "pycocotools.coco".
        data: content of the file that it will open.
    """
    module: Any = importlib.import_module(parser)
    original = module.json
    module.json = types.SimpleNamespace(load=lambda file: data)
    try:
        yield
    finally:
        module.json = original


def loader_layers(loader: Any) -> Iterator[Any]:
    """A training loader and the datasets and loaders inside it, from the outside in.

    Detectron2 wraps them into each other, in attributes named ``dataset`` or ``_dataset``.
    """
    while loader is not None:
        yield loader
        loader = getattr(loader, "dataset", getattr(loader, "_dataset", None))


def image_source(loader: Any) -> ToIterableDataset | None:
    """The layer of a training loader that holds a map-style dataset and its sampler; None if there is no such layer.

    Both attributes (``dataset``, ``sampler``) can be replaced until the loader is iterated.
    """
    return next((layer for layer in loader_layers(loader) if isinstance(layer, ToIterableDataset)), None)


def unmapped(dataset: Any) -> Any:
    """The records behind a dataset whose mapper reads the images."""
    return dataset._dataset if isinstance(dataset, MapDataset) else dataset


def mapped_dataset(loader: Any) -> tuple[Any, Callable[[Any], Any]] | None:
    """The records of a training or test loader, by index, and the mapper that makes the model's input of one.

    None for a loader that is not built by Detectron2's functions, or from a dataset that cannot be indexed.
    """
    for layer in loader_layers(loader):
        if isinstance(layer, MapDataset):
            return layer._dataset, layer._map_func
    return None


def next_batch(trainer: SimpleTrainer) -> Any:
    """The next batch of a trainer's loader, from the iterator that SimpleTrainer keeps."""
    return next(trainer._data_loader_iter)


def write_losses(trainer: SimpleTrainer, losses: dict[str, Tensor], data_time: float) -> None:
    """Log the losses as SimpleTrainer does in its own step: means over the processes, the slowest one's data time."""
    trainer._write_metrics(losses, data_time)


def read_16_bit_images() -> None:
    """Make Detectron2 convert images of more than 8 bits by lt_det's rule, see `to_8_bits`.

    Patched, because every mapper reads its images by a function that clips their values to 255.
    """
    if detection_utils.convert_PIL_to_numpy is not _to_numpy:
        detection_utils.convert_PIL_to_numpy = _to_numpy


_original_to_numpy = detection_utils.convert_PIL_to_numpy


def _to_numpy(image: Any, format: str | None) -> Any:
    if format is not None:
        worker = get_worker_info()
        image = to_8_bits(image, quiet=worker is not None and worker.id > 0)
    return _original_to_numpy(image, format)


@contextlib.contextmanager
def config_content(content: dict[str, Any]) -> Iterator[None]:
    """Within, a Detectron2 config merges `content` from any file, and still converts configs of earlier versions.

    Patched, because ``merge_from_file`` would read the file with a loader that runs code, and download its bases.

    Args:
        content: keys and values.
    """
    CfgNode.load_yaml_with_base = classmethod(lambda cls, filename, allow_unsafe=False: content)
    try:
        yield
    finally:
        del CfgNode.load_yaml_with_base  # fvcore's is found again


def retired_keys(cfg: CfgNode) -> set[str]:
    """Keys that a config no longer has: those that merging ignores with a warning, and those that it says are renamed.

    Read from attributes, because the methods for single keys log or raise.
    """
    return {*cfg.__dict__[CfgNode.DEPRECATED_KEYS], *cfg.__dict__[CfgNode.RENAMED_KEYS]}


def write_json_lines_to(writer: JSONWriter, file: Any) -> None:
    """Replace the file that a JSONWriter has opened; its own raises on a full disk."""
    writer._file_handle.close()
    writer._file_handle = file
