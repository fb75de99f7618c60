"""Training and its commands, on Detectron2's engine."""

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
from lt_det.data.image_errors import NameUnreadable
from lt_det.training.checkpointer import LongTailCheckpointer
from lt_det.training.decoupled import build_checkpointer, train_classifier_only
from lt_det.training.diagnostics import watched
from lt_det.training.hooks import build_log_hooks
from lt_det.training.launch.cli import argument_parser, run
from lt_det.training.launch.timeouts import evaluation_timeout
from lt_det.training.setup import load_config, load_lazy_config, setup, setup_lazy
from lt_det.training.trainer import LongTailTrainer
from lt_det.training.writers import ConsoleWriter

__all__ = [
    "ConsoleWriter",
    "LongTailCheckpointer",
    "LongTailTrainer",
    "NameUnreadable",
    "argument_parser",
    "build_checkpointer",
    "build_log_hooks",
    "evaluation_timeout",
    "load_config",
    "load_lazy_config",
    "run",
    "setup",
    "setup_lazy",
    "train_classifier_only",
    "watched",
]
