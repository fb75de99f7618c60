"""Which keys of the config have changed since a training was interrupted."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lt_det.training.config_files.key_paths import key_paths, value_at
from lt_det.training.config_files.run_config import NAME, config_in

logger = logging.getLogger(__name__)

# Of a yaml config, then of a LazyConfig. A resumed training counts the images that it has seen in iterations.
_COUNT_IMAGES = (
    "SOLVER.IMS_PER_BATCH",
    "DATALOADER.SAMPLER_TRAIN",
    "dataloader.train.total_batch_size",
    "dataloader.train.sampler._target_",
)
# The folder may have been moved; the weights, the seed and what is in the optimizer have messages of their own.
_NOT_HERE = (
    "OUTPUT_DIR",
    "MODEL.WEIGHTS",
    "SEED",
    "SOLVER.BASE_LR",
    "SOLVER.MOMENTUM",
    "SOLVER.NESTEROV",
    "SOLVER.WEIGHT_DECAY",
    "train.output_dir",
    "train.init_checkpoint",
    "train.seed",
    "optimizer",
)


@contextlib.contextmanager
def changed_keys_logged(folder: Path) -> Iterator[None]:
    """Context in which a resumed training writes its config.yaml to a folder; it logs what differs from the one there.

    Nothing is logged if either file is missing or unreadable.
    """
    before = config_in(folder)
    yield
    after = config_in(folder)
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return
    changes = changed_keys(before, after)
    for key in (key for key in _COUNT_IMAGES if key in changes):
        was, now = changes.pop(key)
        logger.warning(
            f"{key} is {now} and was {was} before the interruption: --resume counts the images it has seen in "
            "iterations, so this training shows some images more often or less often than an uninterrupted one."
        )
    if changes:
        listed = ", ".join(f"{key} is {now} and was {was}" for key, (was, now) in changes.items())
        logger.info(f"--resume continues with keys that have changed since {folder / NAME} was written: {listed}.")


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Value before and value after, by dotted path, of each key that differs; None where one of the two lacks it.

    Left out are the keys that other messages name.

    Args:
        before, after: contents of config.yaml.

    >>> changed_keys({"SOLVER": {"MAX_ITER": 200, "GAMMA": 0.1}}, {"SOLVER": {"MAX_ITER": 400, "GAMMA": 0.1}})
    {'SOLVER.MAX_ITER': (200, 400)}
    """
    found = {}
    for path in dict.fromkeys([*key_paths(before), *key_paths(after)]):
        was, now = value_at(before, path), value_at(after, path)
        is_section = isinstance(was, Mapping) or isinstance(now, Mapping)
        is_named_elsewhere = any(path == key or path.startswith(f"{key}.") for key in _NOT_HERE)
        if was != now and not is_section and not is_named_elsewhere:
            found[path] = (was, now)
    return found
