"""Training and its commands, on Detectron2's engine."""

from lt_det.data.images import NameUnreadable
from lt_det.engine.checkpointer import LongTailCheckpointer
from lt_det.engine.failures import watched
from lt_det.engine.launch import argument_parser, run
from lt_det.engine.log_hooks import build_log_hooks
from lt_det.engine.rendezvous import evaluation_timeout
from lt_det.engine.second_stage import build_checkpointer, train_classifier_only
from lt_det.engine.setup import load_config, load_lazy_config, setup, setup_lazy
from lt_det.engine.trainer import LongTailTrainer
from lt_det.engine.writers import ConsoleWriter

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
