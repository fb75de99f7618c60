"""The types and ranges of a LazyConfig's values, as far as lt_det's and Detectron2's tools read them from ``train``.

A LazyConfig is a program that may hold anything; without this check a mistake would show after a training has begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf.errors import InterpolationResolutionError

from lt_det.errors import LtDetError
from lt_det.numbers import is_number
from lt_det.training.config_files.key_paths import value_at
from lt_det.training.config_files.keys import PlaceOf
from lt_det.training.config_files.ranges import MAX_SEED

# Lower bounds of whole numbers; None: any.
_WHOLE: dict[str, int | None] = {
    "train.max_iter": 1,
    "train.accumulate": 1,
    "train.seed": None,
    "train.eval_period": None,
    "train.log_period": 1,
    "dataloader.train.total_batch_size": 1,
    "dataloader.train.num_workers": 0,
    "dataloader.test.num_workers": 0,
}
_NUMBERS = {"train.clip_norm": 0, "train.checkpointer.period": 1, "optimizer.lr": 0}
_STRINGS = ("train.output_dir", "train.second_stage", "train.meta_method")
_STRINGS_OR_NONE = ("train.init_checkpoint", "train.wandb_project")
_FLAGS = ("train.amp.enabled", "train.cudnn_benchmark")
_SECTIONS = (
    *("train", "model", "optimizer", "lr_multiplier", "dataloader", "train.amp", "train.ddp", "train.checkpointer"),
    *("dataloader.train", "dataloader.test", "dataloader.train.dataset", "dataloader.test.dataset"),
)


def check_lazy_values(cfg: Any, place_of: PlaceOf) -> None:
    """Check the keys that are there; those that are missing have their defaults, or are named by what reads them.

    Args:
        cfg: a LazyConfig with its overrides.
        place_of: where a key is written, for messages: its file, or the command line.

    Raises:
        LtDetError: a value of another type or out of range, or a reference to a key that there is not.
    """
    try:
        for key, value, advice in _problems(cfg):
            raise LtDetError(f"{place_of(key)}: {key} is {value!r:.80}; {advice}.")
    except InterpolationResolutionError as error:
        key, reason = str(error.full_key), str(error).strip().split("\n")[0]
        raise LtDetError(f"{place_of(key)}: {key} refers to what is not there ({reason}); correct it.") from error


def _problems(cfg: Any) -> Iterator[tuple[str, Any, str]]:
    """Keys, values, and what to write instead."""
    for key in _SECTIONS:
        if not isinstance(value := value_at(cfg, key, {}), Mapping):
            yield key, value, "write its keys, as in configs/lazy/mini_lvis_eql.py"
    for key, least in _WHOLE.items():
        value = value_at(cfg, key, least or 0)
        if type(value) is not int or (least is not None and value < least):
            yield key, value, f"write a whole number{'' if least is None else f' of at least {least}'}"
    if (seed := value_at(cfg, "train.seed", 0)) > MAX_SEED:
        yield "train.seed", seed, f"write a whole number of at most {MAX_SEED}"
    for key, least in _NUMBERS.items():
        value = value_at(cfg, key, least)
        if not (is_number(value) and value >= least) and not (value is None and key == "train.clip_norm"):
            yield key, value, f"write a number of at least {least}"
    for key in (*_STRINGS, *_STRINGS_OR_NONE):
        value = value_at(cfg, key, "")
        if not (isinstance(value, str) or (value is None and key in _STRINGS_OR_NONE)):
            yield key, value, "write a string"
    for key in _FLAGS:
        if (value := value_at(cfg, key, False)) not in (True, False, None):
            yield key, value, "write True or False"
    names = value_at(cfg, "dataloader.train.dataset.names", "")
    if not isinstance(names, str) and not (_is_list(names) and all(isinstance(name, str) for name in names)):
        yield "dataloader.train.dataset.names", names, "write the names of registered datasets"


def _is_list(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, Mapping)
