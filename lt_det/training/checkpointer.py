"""Detectron2's checkpointer, safe against kills, with one sentence for a file that cannot be read or written."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from lt_det.compat.torch import is_dead_worker, is_of_other_optimizer
from lt_det.errors import DISK_FULL, LtDetError, reason_of
from lt_det.losses import name_in_checkpoint, registered_name
from lt_det.modeling import LongTailPredictor
from lt_det.terminal import count_of
from lt_det.trainer_keys import LOSS_OF_WEIGHTS, mark_applied
from lt_det.training.resume.checkpoint_folder import (
    LAST_CHECKPOINT,
    checkpoints_in,
    holds_checkpoint,
    iteration_of,
    named_checkpoint,
)
from lt_det.training.resume.loaded_state import refused
from lt_det.training.warm_start import WarmStart, other_classes, refuse_moved_classes, unusual_families
from lt_det.training.weights.averaged import use_averages
from lt_det.training.weights.fit import check_fit, check_numbers
from lt_det.training.weights.initialization import backbone_problem
from lt_det.training.weights.prefix import prefix_of
from lt_det.training.weights.reading import check_file, check_sums, finite_weights, open_checkpoint, read_weights

logger = logging.getLogger(__name__)

BOX_HEAD_KEY = "long_tail_box_heads"
_DECOUPLED_KEY = "long_tail_second_stage"
_UNFINISHED = ".unfinished-"  # prefix of a file that is being written

_UNREADABLE = (AssertionError, OSError, EOFError, RuntimeError, KeyError)


def _box_heads(model: nn.Module) -> list[str]:
    """The loss and classifier of each of lt_det's box predictors, as text."""
    heads = [module for module in model.modules() if isinstance(module, LongTailPredictor)]
    return [f"{registered_name(head.loss)} on {type(head.cls_score).__name__}" for head in heads]


def last_checkpoint(checkpointer: Checkpointer) -> str:
    """From which checkpoint a failed training can be resumed, as the end of a sentence."""
    path = checkpointer.get_checkpoint_file()
    return f"the last good checkpoint is {path}, for --resume" if path else "no checkpoint has been saved yet"


def _contents(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint, or None if it is corrupt; torch maps the tensors without reading them."""
    try:
        return open_checkpoint(path, mmap=True)
    except LtDetError:
        return None


def _is_intact(path: Path) -> bool:
    """Whether a checkpoint is as it was written: torch compares no checksums, and reads missing blocks as zeros."""
    try:
        check_sums(path)
    except LtDetError:
        return False
    return _contents(path) is not None


def decoupled_method_of(path: Path) -> str | None:
    """The method of the decoupled training that saved a checkpoint; empty for any other training, None if corrupt."""
    contents = _contents(path)
    return None if contents is None else str(contents.get(_DECOUPLED_KEY, ""))


def _first_cause(error: BaseException) -> BaseException:
    """The operating system's error: on a full disk torch's own is about the position of its writer."""
    cause = error
    while not isinstance(cause, OSError) and cause.__context__ is not None:
        cause = cause.__context__
    return cause if isinstance(cause, OSError) else error


class LongTailCheckpointer(DetectionCheckpointer):
    """Reads and writes checkpoints, and says in one sentence why one cannot be used.

    A file is written under another name, synchronized with the disk and then renamed: whenever the process is killed,
    model_*.pth are complete, and last_checkpoint names one of them. (Addresses such as s3://... are written in place.)

    Detectron2 skips weights of another shape with a line in the log. That is right for fine-tuning; a model to evaluate
    or to resume would have random classifiers, so `exact` makes it an error.

    Attributes:
        exact: refuse weights that are not those of the same network and loss.
        for_evaluation: the model is loaded to evaluate or use it, not to train it, see `evaluation_checkpointer`.
        decoupled: the method of decoupled training, which checkpoints record; only the same method resumes them.
        classes: names of the classes of the data, which those of the weights are compared with; empty if unknown.
        problem_at_start: why the weights that a training started from may not train, in a sentence; empty: nothing.
    """

    exact = False
    for_evaluation = False
    decoupled = ""
    classes: Sequence[str] = ()
    problem_at_start = ""
    _resumed_from = ""  # until the next checkpoint is saved, if it is not the one that last_checkpoint names
    _resumes = False
    _tags = True

    def save(self, name: str, **extra: Any) -> None:
        """Also saves which loss, classifier and decoupled training the weights belong to.

        Raises:
            LtDetError: weights that are infinite or NaN, which are not saved; a disk that is full or not writable.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        self._refuse_bad_weights(name)
        extra = {
            BOX_HEAD_KEY: _box_heads(self.model),
            _DECOUPLED_KEY: self.decoupled,
            **unusual_families(self.model),
            **extra,
        }
        if "://" in self.save_dir:
            super().save(name, **extra)
            return
        self._remove_unfinished()  # of a process that was killed
        try:
            super().save(f"{_UNFINISHED}{name}", **extra)
        except (OSError, RuntimeError) as error:
            self._remove_unfinished()
            if is_dead_worker(error):  # torch raises this at any place in the program
                raise
            cause = _first_cause(error)
            advice = "free space on the disk"
            if isinstance(cause, OSError) and cause.errno not in DISK_FULL:
                advice = f"check the folder {self.save_dir}"
            reason = (isinstance(cause, OSError) and cause.strerror) or str(cause).strip().split("\n")[0]
            raise LtDetError(
                f"The checkpoint {Path(self.save_dir) / name}.pth cannot be written ({reason}); {advice}; "
                f"{last_checkpoint(self)}."
            ) from error

    def save_beside(self, name: str, **extra: Any) -> None:
        """As `save`, but ``last_checkpoint`` goes on to name another checkpoint."""
        self._tags = False
        try:
            self.save(name, **extra)
        finally:
            self._tags = True

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Called by `save` after the file is written."""
        if not last_filename_basename.startswith(_UNFINISHED):
            if self._tags:
                super().tag_last_checkpoint(last_filename_basename)
            return
        name = last_filename_basename.removeprefix(_UNFINISHED)
        self._finish(name)
        if not self._tags:
            return
        (Path(self.save_dir) / f"{_UNFINISHED}{LAST_CHECKPOINT}").write_text(name)
        self._finish(LAST_CHECKPOINT)
        self._resumed_from = ""

    def _finish(self, name: str) -> None:
        """Synchronize a file with the disk, then give it its name."""
        unfinished = Path(self.save_dir) / f"{_UNFINISHED}{name}"
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, unfinished.with_name(name))

    def _remove_unfinished(self) -> None:
        for path in Path(self.save_dir).glob(f"{_UNFINISHED}*"):
            path.unlink()

    def _refuse_bad_weights(self, name: str) -> None:
        bad = [key for key, weight in self.model.state_dict().items() if not weight.isfinite().all()]
        if bad:
            raise LtDetError(
                f"{count_of(len(bad), 'weight')} became infinite or NaN, the first of them {bad[0]}, so {name}.pth is "
                "not saved; lower SOLVER.BASE_LR (LazyConfig: optimizer.lr) or clip gradients (SOLVER.CLIP_GRADIENTS, "
                f"LazyConfig: train.clip_norm); {last_checkpoint(self)}."
            )

    def has_checkpoint(self) -> bool:
        """Whether OUTPUT_DIR holds a checkpoint, even if ``last_checkpoint`` is missing or damaged."""
        return bool(super().has_checkpoint()) if "://" in self.save_dir else holds_checkpoint(Path(self.save_dir))

    def get_checkpoint_file(self) -> str:
        """The checkpoint that ``last_checkpoint`` names, or from which the training was resumed; empty if unknown."""
        if "://" in self.save_dir:
            return str(super().get_checkpoint_file())
        named = named_checkpoint(Path(self.save_dir))
        return self._resumed_from or ("" if named is None else os.path.join(self.save_dir, named.name))

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """As Detectron2's; without an intact last checkpoint, the intact one of the latest iteration is used.

        A training that starts in a folder with another training's checkpoints logs a warning.

        Raises:
            LtDetError: no checkpoint is intact, or the processes see different ones.
        """
        self._resumes = resume and self.has_checkpoint()
        starts = not resume and not self.for_evaluation and not self.decoupled
        if starts and self.save_to_disk and self.has_checkpoint():
            self._warn_about_other_training()
        if not resume or "://" in self.save_dir:
            return dict(super().resume_or_load(path, resume=resume))
        here = self.has_checkpoint()
        found = self._newest_intact() if comm.is_main_process() else ""
        there, found = comm.all_gather((here, found))[0]  # one choice for all
        if here != there or (found and not Path(found).is_file()):
            raise LtDetError(
                f"Process {comm.get_rank()} does not see the same checkpoints as process 0 in OUTPUT_DIR "
                f"{self.save_dir}; --resume needs a folder that all machines share."
            )
        if not here:
            start = "MODEL.WEIGHTS are evaluated" if self.for_evaluation else "the training starts at iteration 0"
            level = logging.WARNING if self.for_evaluation else logging.INFO  # jobs that may restart always resume
            logger.log(level, f"OUTPUT_DIR {self.save_dir} holds no checkpoint to resume: {start}.")
            return dict(super().resume_or_load(path, resume=False))
        last, problem = self.get_checkpoint_file(), self._problem_of_last_checkpoint()
        if not found:
            raise LtDetError(
                f"{problem}, and no {'other ' if last else ''}model_*.pth there is an intact checkpoint of a training; "
                f"put one there, or move the model_*.pth and {LAST_CHECKPOINT} elsewhere to start from scratch."
            )
        if found != last:
            logger.warning(f"{problem}; resuming from {found}, the intact checkpoint of the latest iteration.")
            self._resumed_from = found
        return self.load(found)

    def _warn_about_other_training(self) -> None:
        last = named_checkpoint(Path(self.save_dir)) or next(iter(checkpoints_in(Path(self.save_dir))), None)
        logger.warning(
            f"OUTPUT_DIR {self.save_dir} holds another training, whose last checkpoint is "
            f"{last.name if last else 'unknown'}: this training starts at iteration 0, overwrites its config.yaml, "
            "checkpoints of the same names, evaluation and report, and appends to log.txt and metrics.json. To resume "
            "that training instead, stop and give --resume; to keep it, use another OUTPUT_DIR."
        )

    def _problem_of_last_checkpoint(self) -> str:
        """What is wrong with the last checkpoint if it cannot be used, as the beginning of a sentence."""
        folder = Path(self.save_dir)
        if not os.path.lexists(folder / LAST_CHECKPOINT):
            return f"OUTPUT_DIR {self.save_dir} holds checkpoints, but no {LAST_CHECKPOINT}"
        if named_checkpoint(folder) is None:
            return f"{folder / LAST_CHECKPOINT} does not hold the name of a file in its folder"
        return f"The last checkpoint {self.get_checkpoint_file()} is missing or corrupt"

    def _newest_intact(self) -> str:
        """The last checkpoint if it is intact, else the intact one of the latest iteration; empty without any."""
        if not self.has_checkpoint():
            return ""
        last = self.get_checkpoint_file()
        if last and _is_intact(Path(last)):
            return last
        iterations = {}
        for path in Path(self.save_dir).glob("model_*.pth"):
            contents = _contents(path)
            iteration = None if contents is None else iteration_of(path, contents.get("iteration"))
            if iteration is not None:
                iterations[str(path)] = iteration
        descending = sorted(iterations, key=lambda path: (iterations[path], path), reverse=True)
        return next((path for path in descending if _is_intact(Path(path))), "")

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._path = path
        mark_applied(self.model, LOSS_OF_WEIGHTS)
        if self.exact and not path:
            raise LtDetError(
                "No weights are given, and there is no use in a random network; set MODEL.WEIGHTS (LazyConfig: "
                "train.init_checkpoint), or use --resume with the OUTPUT_DIR of a training."
            )
        local = path.partition("?")[0]  # options of Detectron2's follow
        if local and Path(local).exists():
            check_file(local)
        if not (path or self.for_evaluation):
            self._warn_about_backbone(backbone_problem(self.model, path))
        try:
            return super().load(path, *args, **kwargs)
        except (LtDetError, MemoryError):
            raise
        except Exception as error:  # states of hooks and optimizers are as the file says, and can fail in any way
            if self._resumes and is_of_other_optimizer(error):
                raise refused(
                    path,
                    "its optimizer is of another kind than this training's, or groups the weights in another way "
                    "(BACKBONE.FREEZE_AT, SOLVER's factors for biases and normalization)",
                ) from error
            known = isinstance(error, _UNREADABLE) and str(error).strip()
            reason = str(error).strip().split("\n")[0] if known else reason_of(error)
            raise LtDetError(
                f"The weights {path} cannot be loaded ({reason}); check MODEL.WEIGHTS and the network, or use another "
                "checkpoint."
            ) from error
        finally:
            self._parsed_url_during_load = None  # Detectron2 keeps it after an error, and then refuses another try

    def _load_file(self, filename: str) -> dict[str, Any]:
        """In place of Detectron2's, which runs programs in a file; see `read_weights`."""
        checkpoint = read_weights(filename)
        if prefix := prefix_of(checkpoint["model"], self.model.state_dict()):
            logger.info(f"The names of the weights in {filename} begin with {prefix}, which is left out.")
            checkpoint["model"] = {name.removeprefix(prefix): weight for name, weight in checkpoint["model"].items()}
        options = parse_qs(self._path.partition("?")[2])
        wants_average = (ema := options.pop("ema", ["True"])) == ["True"]
        if ema not in (["True"], ["False"]):
            raise LtDetError(f"The weights {self._path} have the option ema={','.join(ema)}; write ?ema=False or none.")
        if options.pop("matching_heuristics", None) == ["True"]:
            checkpoint["matching_heuristics"] = True
        if options:
            raise LtDetError(
                f"The weights {self._path} have the option {next(iter(options))}, which is unknown; write "
                "FILE?matching_heuristics=True, FILE?ema=False, or the file alone."
            )
        resumes = self._resumes and not self.for_evaluation
        if wants_average and not resumes and use_averages(checkpoint):
            finite_weights(checkpoint, filename)
            logger.info(f"Using the moving average (SOLVER.EMA) of the weights in {filename}.")
        return checkpoint

    def _load_model(self, checkpoint: Any) -> Any:
        if self._resumes and not self.for_evaluation and "trainer" in self.checkpointables.keys() - checkpoint.keys():
            raise LtDetError(
                f"The last checkpoint {self._path} holds weights, but not the state of a training (iteration, "
                "optimizer), so that it cannot be resumed; give another OUTPUT_DIR, and set MODEL.WEIGHTS (LazyConfig: "
                "train.init_checkpoint) to it to start a training from its weights."
            )
        method = checkpoint.get(_DECOUPLED_KEY)
        if self.exact and not self.for_evaluation and method and not self.decoupled:
            raise LtDetError(
                f"The checkpoint {self._path} was saved by decoupled training ({method}), which this config does not "
                f"do; use its config (MODEL.LONG_TAIL.SECOND_STAGE.METHOD {method}), or another OUTPUT_DIR."
            )
        if self.for_evaluation and self.decoupled and not method:
            raise LtDetError(
                f"The checkpoint {self._path} is from before the decoupled training of this config "
                f"(MODEL.LONG_TAIL.SECOND_STAGE.METHOD {self.decoupled}); give the weights that it trained, the "
                "model_final.pth in its OUTPUT_DIR."
            )
        heads = [str(head).partition(" on ") for head in checkpoint.get(BOX_HEAD_KEY) or []]
        trained = [name_in_checkpoint(loss) + on + classifier for loss, on, classifier in heads]
        built = _box_heads(self.model)
        if self.exact and trained and trained != built:
            raise LtDetError(
                f"The checkpoint {self._path} was trained with {', '.join(sorted(set(trained)))}, but the config says "
                f"{', '.join(sorted(set(built))) or 'no loss of lt_det'}; use the config it was trained with."
            )
        if self.exact:
            check_numbers(checkpoint["model"], self.model, self._path)
        start = WarmStart(self.model, checkpoint, checkpoint.get(BOX_HEAD_KEY), self._path, self.save_dir)
        others = other_classes(checkpoint, self._path, self.classes)
        incompatible = super()._load_model(checkpoint)
        if self.exact and incompatible is not None:
            check_fit(incompatible, self.model, self._path)
        if self.for_evaluation:
            start.refuse_other_family(incompatible)
            refuse_moved_classes(others, self._path)
        elif not (self.exact or self._resumes):
            start.reset_unusable(incompatible, others)
            if incompatible is not None:
                self._warn_about_backbone(backbone_problem(self.model, self._path, set(incompatible.missing_keys)))
        return incompatible

    def _warn_about_backbone(self, problem: str) -> None:
        self.problem_at_start = problem
        if problem:
            logger.warning(problem)


def evaluation_checkpointer(
    model: nn.Module, save_dir: str = "", decoupled: str = "", classes: Sequence[str] = ()
) -> LongTailCheckpointer:
    """For a model to evaluate or to use: weights of another network, loss or order of classes are refused.

    Args:
        model: without its weights.
        save_dir: OUTPUT_DIR, for its last checkpoint.
        decoupled: SECOND_STAGE.METHOD of the config.
        classes: see `LongTailCheckpointer`.
    """
    checkpointer = LongTailCheckpointer(model, save_dir)
    checkpointer.exact = checkpointer.for_evaluation = True
    checkpointer.decoupled, checkpointer.classes = decoupled, classes
    return checkpointer
