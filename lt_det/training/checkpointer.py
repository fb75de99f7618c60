"""Detectron2's checkpointer, safe against being killed, and plain about what it cannot read or write."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from lt_det.errors import LtDetError
from lt_det.losses import name_in_checkpoint, registered_name
from lt_det.modeling import LongTailPredictor

logger = logging.getLogger(__name__)

BOX_HEAD_KEY = "long_tail_box_heads"
_SECOND_STAGE_KEY = "long_tail_second_stage"
DEAD_WORKER = "DataLoader worker (pid"  # how torch begins to tell of a loading process that died
_UNFINISHED = ".unfinished-"  # before the name of a file that is being written
_UNREADABLE = (AssertionError, OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError)


def _box_heads(model: nn.Module) -> list[str]:
    """The loss and classifier of each box predictor of ours, as text."""
    heads = [module for module in model.modules() if isinstance(module, LongTailPredictor)]
    return [f"{registered_name(head.loss)} on {type(head.cls_score).__name__}" for head in heads]


def last_checkpoint(checkpointer: Checkpointer) -> str:
    """Where a failed training can go on, as the end of a sentence."""
    path = checkpointer.get_checkpoint_file()
    return f"the last good checkpoint is {path}, for --resume" if path else "no checkpoint has been saved yet"


def _contents(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds, if it is whole; torch maps the tensors without reading them."""
    try:
        contents = torch.load(str(path), map_location="cpu", mmap=zipfile.is_zipfile(path))
    except _UNREADABLE:
        return None
    return contents if isinstance(contents, dict) else None


def _is_whole(path: Path) -> bool:
    """Whether all of a checkpoint is as it was written: torch compares no check sums, and takes holes for zeros."""
    if _contents(path) is None:
        return False
    if not zipfile.is_zipfile(path):  # as torch wrote before 1.6
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, EOFError, zipfile.BadZipFile):
        return False


def second_stage_of(path: Path) -> str | None:
    """The method of the second stage that wrote a checkpoint; empty for any other training, None for a torn file."""
    contents = _contents(path)
    return None if contents is None else str(contents.get(_SECOND_STAGE_KEY, ""))


def tell_if_finished(checkpointer: Checkpointer, done: int, max_iter: int) -> None:
    """Log that a resumed training has no iteration left; it would end without a word. One that was killed before it
    could write model_final.pth gets it now."""
    if done < max_iter:
        return
    logger.warning(
        f"Nothing is trained: the training in {checkpointer.save_dir} is finished, with {done} iterations done of "
        f"{max_iter}. To train longer raise SOLVER.MAX_ITER (LazyConfig: train.max_iter); to train something else "
        "from its weights name them in MODEL.WEIGHTS (train.init_checkpoint), with a new OUTPUT_DIR."
    )
    if not checkpointer.get_checkpoint_file().endswith("model_final.pth"):
        checkpointer.save("model_final", iteration=done - 1)


def _first_cause(error: BaseException) -> str:
    """What the system said: torch's writer, closed over a full disk, complains of its own position."""
    while not isinstance(error, OSError) and error.__context__ is not None:
        error = error.__context__
    return (isinstance(error, OSError) and error.strerror) or str(error).strip().split("\n")[0]


class LongTailCheckpointer(DetectionCheckpointer):
    """Reads and writes checkpoints, and says in one sentence why one cannot be used.

    A file is written aside, synchronised with the disk and only then given its name: whenever the process is killed,
    model_*.pth are whole, and last_checkpoint names one of them. (Addresses such as s3://... are written in place.)

    Detectron2 skips weights of another shape with a line in the log. For fine-tuning that is wanted; for a model that
    is to be judged or trained on it means random classifiers, so there `exact` makes it an error.

    Attributes:
        judges: it loads a model to judge or use it, and not to train it, see `judging_checkpointer`.
        second_stage: the method of the second stage that it saves, which no other training goes on from, or judges.
    """

    exact = False
    judges = False
    second_stage = ""

    def save(self, name: str, **extra: Any) -> None:
        """Also keeps which loss, classifier and second stage the weights belong to.

        Raises:
            LtDetError: weights that are infinite or NaN, which are not written; a disk that is full or not writable.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        self._refuse_bad_weights(name)
        extra = {BOX_HEAD_KEY: _box_heads(self.model), _SECOND_STAGE_KEY: self.second_stage, **extra}
        if "://" in self.save_dir:
            super().save(name, **extra)
            return
        self._remove_unfinished()  # of a process that was killed
        try:
            super().save(f"{_UNFINISHED}{name}", **extra)
        except (OSError, RuntimeError) as error:
            self._remove_unfinished()
            if str(error).startswith(DEAD_WORKER):  # torch raises this wherever the process is
                raise
            raise LtDetError(
                f"The checkpoint {Path(self.save_dir) / name}.pth cannot be written ({_first_cause(error)}); make room "
                f"on the disk; {last_checkpoint(self)}."
            ) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Called by `save` when the file is written."""
        if not last_filename_basename.startswith(_UNFINISHED):
            super().tag_last_checkpoint(last_filename_basename)
            return
        name = last_filename_basename.removeprefix(_UNFINISHED)
        self._finish(name)
        (Path(self.save_dir) / f"{_UNFINISHED}last_checkpoint").write_text(name)
        self._finish("last_checkpoint")

    def _finish(self, name: str) -> None:
        """Give a file that is written its name, once its content is on the disk."""
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
                f"{len(bad)} weights, the first of them {bad[0]}, have become infinite or NaN, so {name}.pth is not "
                "saved; lower SOLVER.BASE_LR (LazyConfig: optimizer.lr) or clip gradients (SOLVER.CLIP_GRADIENTS, "
                f"LazyConfig: train.clip_norm); {last_checkpoint(self)}."
            )

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """As Detectron2's; a last checkpoint that is torn or missing is replaced by the newest whole one.

        A training that starts where another's checkpoints are says so in the log.

        Raises:
            LtDetError: there is none, or not the same for all processes.
        """
        if not resume and self.save_to_disk and not (self.judges or self.second_stage) and self.has_checkpoint():
            logger.warning(
                f"OUTPUT_DIR {self.save_dir} holds another training, whose last checkpoint is "
                f"{Path(self.get_checkpoint_file()).name}: this one starts anew, writes its checkpoints over those and "
                "its log behind that in metrics.json. To go on with that one stop and give --resume; to keep it apart "
                "use another OUTPUT_DIR."
            )
        if not resume or "://" in self.save_dir:
            return dict(super().resume_or_load(path, resume=resume))
        here = self.has_checkpoint()
        found = self._newest_readable() if comm.is_main_process() else ""
        there, found = comm.all_gather((here, found))[0]  # one choice for all
        if here != there or (found and not Path(found).is_file()):
            raise LtDetError(
                f"Process {comm.get_rank()} does not see the checkpoints that process 0 sees in OUTPUT_DIR "
                f"{self.save_dir}, or sees others; --resume needs a folder that all machines share."
            )
        if not here:
            return dict(super().resume_or_load(path, resume=False))
        last = self.get_checkpoint_file()
        if not found:
            raise LtDetError(
                f"The last checkpoint {last} is missing or torn, and no other model_*.pth there is whole; put one "
                f"there, or delete {self.save_dir}/last_checkpoint to start anew."
            )
        if found != last:
            logger.warning(f"The last checkpoint {last} is missing or torn; going on from {found}, the newest whole.")
        return self.load(found)

    def _newest_readable(self) -> str:
        """The last checkpoint if it is whole, else the newest that is; empty where there is none."""
        if not self.has_checkpoint():
            return ""
        last = self.get_checkpoint_file()
        if _is_whole(Path(last)):
            return last
        others = sorted(Path(self.save_dir).glob("model_*.pth"), key=lambda path: path.stat().st_mtime, reverse=True)
        return next((str(path) for path in others if _is_whole(path)), "")

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._path = path
        if self.exact and not path:
            raise LtDetError(
                "No weights are given, and a random network is not worth judging; set MODEL.WEIGHTS (LazyConfig: "
                "train.init_checkpoint), or use --resume with the OUTPUT_DIR of a training."
            )
        try:
            return super().load(path, *args, **kwargs)
        except LtDetError:
            raise
        except _UNREADABLE as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            if isinstance(error, pickle.UnpicklingError):  # where torch would advise to run whatever the file says
                reason = "it is no checkpoint"
            raise LtDetError(
                f"The weights {path} cannot be loaded ({reason}); check MODEL.WEIGHTS and the network, or use another "
                "checkpoint."
            ) from error

    def _load_model(self, checkpoint: Any) -> Any:
        stage = checkpoint.get(_SECOND_STAGE_KEY)
        if self.exact and not self.judges and stage and not self.second_stage:
            raise LtDetError(
                f"The checkpoint {self._path} was written by a second stage ({stage}), which this config does not "
                f"train; use its config (MODEL.LONG_TAIL.SECOND_STAGE.METHOD {stage}), or another OUTPUT_DIR."
            )
        if self.judges and self.second_stage and not stage:
            raise LtDetError(
                f"The checkpoint {self._path} is a first stage, but the config trains a second one "
                f"(MODEL.LONG_TAIL.SECOND_STAGE.METHOD {self.second_stage}); give the weights of that, the "
                "model_final.pth in its OUTPUT_DIR."
            )
        heads = [head.partition(" on ") for head in checkpoint.get(BOX_HEAD_KEY) or []]
        trained = [name_in_checkpoint(loss) + on + classifier for loss, on, classifier in heads]
        built = _box_heads(self.model)
        if self.exact and trained and trained != built:
            raise LtDetError(
                f"The checkpoint {self._path} was trained with {', '.join(sorted(set(trained)))}, but the config says "
                f"{', '.join(sorted(set(built))) or 'none of our losses'}; use the config it was trained with."
            )
        incompatible = super()._load_model(checkpoint)
        if self.exact and incompatible is not None:
            for name, found, wanted in incompatible.incorrect_shapes:
                raise LtDetError(
                    f"The checkpoint {self._path} does not fit this model: {name} is {list(found)} there and "
                    f"{list(wanted)} here; it was trained with another NUM_CLASSES, loss or network: use its config."
                )
            missing = [name for name in incompatible.missing_keys if name.startswith("roi_heads.")]
            if missing and ".loss." in missing[0]:
                raise LtDetError(
                    f"The checkpoint {self._path} was trained with another loss ({missing[0]} is missing); "
                    "use its config."
                )
            if missing:
                raise LtDetError(
                    f"The checkpoint {self._path} holds no trained box head ({missing[0]} is missing); "
                    "give the checkpoint of a finished training."
                )
        return incompatible


def judging_checkpointer(model: nn.Module, save_dir: str = "", second_stage: str = "") -> LongTailCheckpointer:
    """For a model that is to be judged or used: weights that are not just its own are refused.

    Args:
        model: without its weights.
        save_dir: OUTPUT_DIR, for its last checkpoint.
        second_stage: the config's.
    """
    checkpointer = LongTailCheckpointer(model, save_dir)
    checkpointer.exact = checkpointer.judges = True
    checkpointer.second_stage = second_stage
    return checkpointer
