"""Training: trainers for yaml configs, LazyConfigs and users' own code, and what they are made of."""

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
from lt_det.data.image_errors import NameUnreadable
from lt_det.trainer_keys import mark_applied
from lt_det.training.checkpointer import LongTailCheckpointer
from lt_det.training.config_loading import get_config, load_config, load_lazy_config, setup, setup_lazy
from lt_det.training.decoupled import build_checkpointer, train_classifier_only
from lt_det.training.diagnostics import watched
from lt_det.training.hooks.best_checkpoint import BestCheckpoint
from lt_det.training.hooks.early_stopping import EarlyStopping, ends_early
from lt_det.training.hooks.ema import EMAHook
from lt_det.training.hooks.metric import Metric
from lt_det.training.hooks.validation_loss import ValidationLoss, build_validation_loader, validation_loss
from lt_det.training.launch.launcher import run
from lt_det.training.launch.options import argument_parser
from lt_det.training.launch.running_statistics import share_running_statistics
from lt_det.training.launch.timeouts import evaluation_timeout
from lt_det.training.lazy_trainer import LazyTrainer, evaluate_lazy
from lt_det.training.log.hooks import build_log_hooks
from lt_det.training.log.writers import ConsoleWriter
from lt_det.training.meta import MetaLearning
from lt_det.training.trainer import LongTailTrainer, equip

__all__ = [
    "BestCheckpoint",
    "ConsoleWriter",
    "EMAHook",
    "EarlyStopping",
    "LazyTrainer",
    "LongTailCheckpointer",
    "LongTailTrainer",
    "MetaLearning",
    "Metric",
    "NameUnreadable",
    "ValidationLoss",
    "argument_parser",
    "build_checkpointer",
    "build_log_hooks",
    "build_validation_loader",
    "ends_early",
    "equip",
    "evaluate_lazy",
    "evaluation_timeout",
    "get_config",
    "load_config",
    "load_lazy_config",
    "mark_applied",
    "run",
    "setup",
    "setup_lazy",
    "share_running_statistics",
    "train_classifier_only",
    "validation_loss",
    "watched",
]
