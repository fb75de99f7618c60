"""The shipped config that a run claims to be of, and the keys in which the run differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from lt_det.errors import LtDetError
from lt_det.training import load_config
from lt_det.zoo.run_folder import RunFolder

CONFIGS = Path("configs")

# Keys that change no result: paths, the machine, what is written and when, and how uncertainty is computed.
NEUTRAL = {
    "CUDNN_BENCHMARK",
    "DATALOADER.NUM_WORKERS",
    "MODEL.DEVICE",
    "MODEL.LONG_TAIL.CLASS_STATS",
    "OUTPUT_DIR",
    "SEED",  # a row has it for each run
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
    "TEST.RESAMPLES",
    "VIS_PERIOD",
    "WANDB_PROJECT",
}
_OF_FILES = ("MODEL.WEIGHTS",)  # only the name counts: the file may be anywhere


def claimed_config(run: RunFolder, config: str | None) -> str:
    """The path of the shipped config that a run is of, relative to the repository's root.

    Args:
        run: the run.
        config: path or name, such as lvis_eql, that the user gave; None: the one in the run's log.

    Raises:
        LtDetError: neither names a config, or it is not a shipped config of this clone.
    """
    claimed = config or run.log.config_file
    if not claimed:
        raise LtDetError(f"{run.folder} has no log.txt that names its config; add --config configs/NAME.yaml.")
    given = PurePath(claimed)
    is_name = given.name == claimed and given.suffix != ".yaml"  # such as lvis_eql; lvis_v0.5_eql has a dot, too
    shipped = CONFIGS / (f"{claimed}.yaml" if is_name else given.name)
    if not shipped.is_file() or not (is_name or given.parent.name == CONFIGS.name):
        source = f"--config is {claimed}" if config else f"{run.folder} was trained with {claimed}"
        raise LtDetError(
            f"{source}, which is not in {CONFIGS}/ here; run the command in the root of a clone of lt_det, and give "
            "--config configs/NAME.yaml if the run has the same config as a shipped one."
        )
    return shipped.as_posix()


def overrides_of(run: RunFolder, config: str) -> dict[str, Any]:
    """The keys of a run that differ from its shipped config, with the run's values.

    Raises:
        LtDetError: see `load_config`.
    """
    return differing_keys(load_config(config), run.cfg)


def check_starts(run: RunFolder) -> None:
    """
    Raises:
        LtDetError: the run was resumed with other settings than before.
    """
    *earlier, last = run.log.configs or [{}]
    for config in earlier:
        # A key that an earlier version did not have cannot have been set.
        if keys := [key for key in differing_keys(config, last) if key in _flat(config)]:
            raise LtDetError(
                f"{run.folder} was resumed with other settings: {', '.join(keys[:5])}; such a run is not a run of one "
                "config; train again from scratch."
            )


def differing_keys(shipped: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The keys whose values differ, apart from `NEUTRAL`, with the values of `other`."""
    one, two = _flat(shipped), _flat(other)
    return {
        key: two.get(key)
        for key in sorted(one.keys() | two.keys())
        if key not in NEUTRAL and one.get(key) != two.get(key)
    }


def _flat(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{above}{name}"
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{key}."))
        else:
            found[key] = PurePath(str(value)).name if key in _OF_FILES else _plain(value)
    return found


def _plain(value: Any) -> Any:
    """Tuples and lists are the same in yaml."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
