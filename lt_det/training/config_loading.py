"""From the command line to a checked config: yaml configs and LazyConfigs with their overrides."""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, LazyConfig, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm

from lt_det.compat.detectron2 import config_content, retired_keys
from lt_det.compat.proposals import read_proposals_as_plain_values
from lt_det.config import add_keys
from lt_det.data import register_from_config
from lt_det.errors import LtDetError
from lt_det.io.atomic import writing_to
from lt_det.io.paths import expanded
from lt_det.io.plain_values.yaml_files import UNSAFE_OPTION
from lt_det.terminal import make_logs_printable
from lt_det.training.config_files.combinations import check_combinations
from lt_det.training.config_files.key_paths import has_key, value_at
from lt_det.training.config_files.keys import check_keys
from lt_det.training.config_files.lazy_overrides import apply_lazy_overrides
from lt_det.training.config_files.lazy_values import check_lazy_values
from lt_det.training.config_files.overrides import PLACE, check_overrides
from lt_det.training.config_files.reading import read_config
from lt_det.training.config_files.run_config import training_config_kept
from lt_det.training.config_files.shipped import config_path, shipped_config
from lt_det.training.config_files.values import check_values
from lt_det.training.config_files.without_effect import (
    doubtful_pixels,
    doubtful_rates,
    settings_without_effect,
    warn_of_cpu,
    warn_of_default_sampler,
    warn_of_unused_keys,
    warn_of_unused_weights,
)
from lt_det.training.detectron2_keys.test_time_augmentation import warn_of_plain_predictions
from lt_det.training.log.early_warnings import early_warnings_in_log
from lt_det.training.log.environment import log_environment
from lt_det.training.log.files import set_up_log_files
from lt_det.training.preflight import check_config, check_heads, check_lazy_config
from lt_det.training.resume.changed_keys import changed_keys_logged
from lt_det.training.resume.checkpoint_folder import holds_checkpoint, last_checkpoint_in
from lt_det.training.resume.output_lock import hold_output_dir
from lt_det.user_modules import add_user_keys

logger = logging.getLogger(__name__)

_PATHS = ("OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.LONG_TAIL.CLASS_STATS", "TEST.BUCKETS.MAP")


@early_warnings_in_log()
def setup(args: argparse.Namespace) -> CfgNode:
    """Load the yaml config of a training command, check it against machine and data, prepare OUTPUT_DIR and logs.

    Args:
        args: what `argument_parser` parsed.

    Raises:
        LtDetError: see `load_config` and `check_config`.
    """
    places: dict[str, Path] = {}
    cfg = load_config(args.config_file, args.opts, _allows_unsafe(args), places)
    warn_of_unused_keys(cfg, args.opts[::2])
    if args.resume and "MODEL.WEIGHTS" in args.opts[::2]:
        warn_of_unused_weights("MODEL.WEIGHTS", cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, training=not args.eval_only)
    warn_of_cpu(args, cfg.MODEL.DEVICE)
    if not args.eval_only and comm.is_main_process():
        without_effect = settings_without_effect(cfg, Path(config_path(args.config_file)), places, args.opts)
        for message in (*doubtful_rates(cfg), *doubtful_pixels(cfg), *without_effect):
            logger.warning("%s.", message)
    check_config(cfg, training=not args.eval_only, resume=args.resume)
    cfg.freeze()
    if not args.eval_only:
        hold_output_dir(cfg.OUTPUT_DIR)
    _set_up_logs(cfg, args, cfg.OUTPUT_DIR)
    return cfg


@early_warnings_in_log()
def setup_lazy(args: argparse.Namespace) -> Any:
    """As `setup`, for a LazyConfig file with ``key=value`` overrides.

    Raises:
        LtDetError: see `load_lazy_config` and `check_lazy_config`.
    """
    if _allows_unsafe(args):
        raise LtDetError(f"{UNSAFE_OPTION} is for yaml configs; a LazyConfig is a program that always runs: omit it.")
    cfg = load_lazy_config(args.config_file, args.opts)
    if args.resume and any(word.startswith("train.init_checkpoint=") for word in args.opts):
        key, training = "train.init_checkpoint", not args.eval_only
        warn_of_unused_weights(key, cfg.train.init_checkpoint, cfg.train.output_dir, training=training)
    warn_of_cpu(args, cfg.train.device)
    check_lazy_config(cfg, training=not args.eval_only, resume=args.resume)
    if not args.eval_only:
        hold_output_dir(cfg.train.output_dir)
    _set_up_logs(cfg, args, cfg.train.output_dir)
    return cfg


def _allows_unsafe(args: argparse.Namespace) -> bool:
    return bool(getattr(args, "allow_unsafe_config", False))  # scripts with Detectron2's own parser lack it


def _set_up_logs(cfg: Any, args: argparse.Namespace, output_dir: str) -> None:
    what, elsewhere = "log.txt and config.yaml", "another OUTPUT_DIR"
    with contextlib.ExitStack() as stack:
        if "://" not in output_dir:
            stack.enter_context(writing_to(Path(output_dir), what, elsewhere))
            if args.eval_only and comm.is_main_process():
                stack.enter_context(training_config_kept(Path(output_dir)))
            elif args.resume and comm.is_main_process() and holds_checkpoint(Path(output_dir)):
                stack.enter_context(changed_keys_logged(Path(output_dir)))
        set_up_log_files(output_dir)
        # It logs the content of the file.
        default_setup(cfg, argparse.Namespace(**{**vars(args), "config_file": config_path(args.config_file)}))
        log_environment()
    make_logs_printable(logging.getLogger("lt_det"))


def load_config(
    config_file: str, opts: Sequence[str] = (), allow_unsafe: bool = False, places: dict[str, Path] | None = None
) -> CfgNode:
    """Read a yaml config with lt_det's keys and KEY VALUE overrides, and register the datasets it lists.

    Nothing in a config runs, and no `_BASE_` is downloaded, other than where Detectron2 reads it.

    Args:
        config_file: local path, or the name of a shipped config, such as lvis_eql.
        opts: overrides, in pairs.
        allow_unsafe: run the code in tags such as ``!!python/object/apply:eval`` of Detectron2's Base-RetinaNet.yaml;
            only for files that you trust as you trust a program.
        places: see `read_config`.

    Raises:
        LtDetError: missing file, invalid yaml, a tag that would run code, unknown key, null or a value of another type,
            unknown loss or ROI heads.
    """
    if not config_file:
        raise LtDetError("No config is given; add --config and a file, or the name of a shipped one, such as lvis_eql.")
    config_file = config_path(config_file)
    if config_file.endswith(".py"):
        raise LtDetError(
            f"{config_file} is a LazyConfig, a program that runs when it is loaded, so it is not opened here; train it "
            "with tools/lazyconfig_train_net.py or lt-det train."
        )
    cfg = get_cfg()
    add_keys(cfg)
    add_user_keys(cfg)
    defaults, retired = cfg.clone(), retired_keys(cfg)
    places = {} if places is None else places
    content = read_config(config_file, allow_unsafe, places)

    def place_of(key: str) -> str:
        return str(places.get(key, config_file))

    def final_place_of(key: str) -> str:
        return PLACE if key in opts[::2] else place_of(key)

    check_keys(content, defaults, place_of, retired)
    with config_content(content):
        _merge(cfg.merge_from_file, config_file, config_file)
    check_values(cfg, defaults, place_of)
    check_overrides(opts, cfg, defaults, retired)
    for key, value in dict(zip(opts[::2], opts[1::2], strict=True)).items():
        if has_key(defaults, key) and value_at(defaults, key) is None:
            _merge(cfg.merge_from_list, [key, None], PLACE)  # otherwise a value must have the type of the file's
        _merge(cfg.merge_from_list, [key, value], PLACE)
    check_values(cfg, defaults, final_place_of)
    check_combinations(cfg, final_place_of)
    _expand_paths(cfg)
    warn_of_default_sampler(cfg, content, opts)
    check_heads(cfg)
    register_from_config(cfg)
    if cfg.MODEL.LOAD_PROPOSALS:
        read_proposals_as_plain_values()
    return cfg


def get_config(name: str, opts: Sequence[str] = ()) -> Any:
    """A shipped config, as a checked config with lt_det's keys; its datasets, and lt_det's ROI heads, are registered.

    Args:
        name: path in configs/ without suffix, such as lvis_eql; of a LazyConfig, such as lazy/lvis_eql.
        opts: overrides: KEY VALUE in pairs, for a LazyConfig ``key=value``.

    Returns:
        Detectron2's CfgNode, not frozen; for a LazyConfig its DictConfig.

    Raises:
        LtDetError: there is no shipped config of that name, see also `load_config` and `load_lazy_config`.
    """
    file = str(shipped_config(name))
    return load_lazy_config(file, opts) if file.endswith(".py") else load_config(file, opts)


def _expand_paths(cfg: CfgNode) -> None:
    """Put the values of ~ and $VARIABLES into the paths of a config, as DATASETS.REGISTER does."""
    for path in _PATHS:
        section, _, key = path.rpartition(".")
        node = value_at(cfg, section)
        if isinstance(node[key], str):
            node[key] = expanded(node[key])


def _merge(merge: Callable[[Any], Any], content: Any, place: str) -> None:
    try:
        merge(content)
    except (RecursionError, MemoryError) as error:
        raise LtDetError(f"{place}: a value is nested too deeply; correct its brackets.") from error
    except (KeyError, ValueError, TypeError, AssertionError, AttributeError, SyntaxError) as error:
        raise LtDetError(f"{place}: {_reason(error)}; correct the key or its value.") from error


def config_of_run(folder: str | Path, opts: list[str], allow_unsafe: bool = False) -> Any:
    """The config of a finished training, with its last checkpoint as MODEL.WEIGHTS unless `opts` name another.

    Args:
        folder: OUTPUT_DIR of the training, wherever it lies now.
        opts: KEY VALUE overrides.
        allow_unsafe: see `load_config`.

    Raises:
        LtDetError: the folder has no config.yaml or no checkpoint, see also `load_config`.
    """
    folder = Path(folder)
    config = folder / "config.yaml"
    if not config.is_file():
        raise LtDetError(
            f"{folder} has no config.yaml; give the OUTPUT_DIR of a training, or --config FILE MODEL.WEIGHTS FILE."
        )
    cfg = load_config(str(config), ["OUTPUT_DIR", str(folder), *opts], allow_unsafe)
    if "MODEL.WEIGHTS" in opts[::2]:
        return cfg
    weights = last_checkpoint_in(folder) or folder / Path(cfg.MODEL.WEIGHTS).name
    if not weights.is_file():
        raise LtDetError(
            f"{folder} has no checkpoint; give the OUTPUT_DIR of a training that has saved one, or MODEL.WEIGHTS FILE."
        )
    cfg.MODEL.WEIGHTS = str(weights)
    return cfg


def config_of_detector(config_file: str | None, words: Sequence[str], allow_unsafe: bool = False) -> CfgNode:
    """The config of a trained detector, from what a command line says.

    Args:
        config_file: a yaml config; None if the first of `words` is the OUTPUT_DIR of a training.
        words: OUTPUT_DIR, if there is no config, and KEY VALUE overrides.
        allow_unsafe: see `load_config`.

    Raises:
        LtDetError: no detector is given, see also `load_config` and `config_of_run`.
    """
    if not config_file and not words:
        raise LtDetError("No detector is given; name RUN, the OUTPUT_DIR of a training, or give --config FILE.")
    if config_file:
        cfg = load_config(config_file, list(words), allow_unsafe)
    else:
        cfg = config_of_run(words[0], list(words[1:]), allow_unsafe)
    warn_of_plain_predictions(cfg)
    return cfg


def load_lazy_config(config_file: str, opts: Sequence[str] = ()) -> Any:
    """Read a LazyConfig file with ``key=value`` overrides.

    Args:
        config_file: local path, or the name of a shipped config, such as lazy/lvis_eql.
        opts: overrides.

    Raises:
        LtDetError: missing file, a yaml file, an override that does not parse or names an unknown key, or a value of
            ``train`` and the like that is out of range or of another type.
    """
    if not config_file:
        raise LtDetError(
            "No config is given; add --config and a file, or the name of a shipped one, such as lazy/lvis_eql."
        )
    config_file = config_path(config_file)
    if not config_file.endswith(".py"):
        raise LtDetError(f"{config_file} is not a LazyConfig (.py); train it with tools/train_net.py or lt-det train.")
    try:
        cfg = LazyConfig.load(config_file)
    except SystemExit as error:  # of a training script, which parses the options of the command that loads it
        raise LtDetError(
            f"{config_file} ends the program when it is loaded: it is a script and no LazyConfig; run it with "
            "python, or give a config."
        ) from error
    except Exception as error:  # a LazyConfig is a program, and can fail in any way
        raise LtDetError(
            f"{config_file} cannot be loaded ({type(error).__name__}: {_reason(error)}); correct it."
        ) from error
    missing = [node for node in ("model", "optimizer", "lr_multiplier", "dataloader", "train") if node not in cfg]
    if missing:
        raise LtDetError(f"{config_file} has no '{missing[0]}'; see configs/lazy/mini_lvis_eql.py for what is needed.")
    cfg = apply_lazy_overrides(cfg, opts)
    given = [word.lstrip("+").partition("=")[0] for word in opts]
    check_lazy_values(cfg, lambda key: PLACE if key in given else config_file)
    return cfg


def _reason(error: Exception) -> str:
    """An exception's text without the quotes that KeyError adds."""
    text = " ".join(str(error.args[0] if error.args else error).split()).rstrip(".")
    return re.sub("^Non-existent (config )?key:", "there is no key", text)  # in a config of Detectron2's version 1
