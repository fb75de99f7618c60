"""Finished trials on disk, so that an interruption loses at most the ones that were running."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from lt_det.bakeoff.candidates import Candidate
from lt_det.bakeoff.detector import Classifiers, ClassifierStates
from lt_det.errors import LtDetError, writing_advice
from lt_det.evaluation.bakeoff_schema import CurvePoint, Metrics, TriedRate
from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation, TaskEvaluation
from lt_det.io.atomic import atomic_file, write_atomically, writing_to
from lt_det.training.weights.reading import check_file, check_sums, load_plain


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A classifier that was trained, or only evaluated, and its box metrics.

    Attributes:
        evaluation: of boxes, on a held-out fold or on the evaluation set.
        phases: steps in each phase of the schedule.
        rates: all learning rates that were tried, on the first fold.
    """

    evaluation: Evaluation
    learning_rate: float | None = None
    rates: list[TriedRate] = []
    curve: list[CurvePoint] = []
    phases: tuple[int, ...] = ()
    seconds: float = 0.0

    @property
    def boxes(self) -> TaskEvaluation:
        """The box metrics and their draws."""
        return self.evaluation.tasks["bbox"]

    @property
    def steps(self) -> int:
        """Steps that were taken."""
        return sum(self.phases)


class TrialStore:
    """The trials of a bake-off, one file each; the classifiers of a trial on all images are in a file next to it.

    Args:
        folder: created when the first trial is written.
        depends_on: everything, besides the candidate itself, that a candidate's trials depend on. Trials with other
            values are not found.
    """

    def __init__(self, folder: Path, depends_on: Callable[[Candidate], Mapping[str, Any]]) -> None:
        self.folder = folder
        self._depends_on = depends_on
        self._folder_of: dict[str, Path] = {}
        self._known: dict[Path, Trial] = {}

    def read(self, candidate: Candidate, part: str) -> Trial | None:
        """A finished trial; None if it is missing or unreadable.

        Args:
            candidate: what was trained.
            part: "fold_0", "seed_0", ...
        """
        file = self._file(candidate, part)
        if file not in self._known:
            try:
                self._known[file] = msgspec.json.decode(file.read_bytes(), type=Trial)
            except (OSError, RecursionError, msgspec.DecodeError):
                return None
        return self._known[file]

    def write(self, candidate: Candidate, part: str, trial: Trial, classifiers: Classifiers | None = None) -> None:
        """Keep a finished trial.

        Raises:
            LtDetError: the folder cannot be written.
        """
        file = self._file(candidate, part)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if classifiers is not None:
                states = {"classifiers": list(classifiers.classifiers), "losses": list(classifiers.losses)}
                with atomic_file(file.with_suffix(".pth")) as unfinished:
                    torch.save(states, unfinished)
            write_atomically(file, msgspec.json.encode(trial))
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            advice = writing_advice(error, elsewhere="") if isinstance(error, OSError) else "free space there"
            raise LtDetError(
                f"{file.parent} cannot be written ({reason}); {advice}, and run the same command again, which keeps "
                "what is finished."
            ) from error

    def read_classifiers(self, candidate: Candidate, part: str) -> ClassifierStates:
        """The classifiers of a finished trial.

        Raises:
            LtDetError: they cannot be read.
        """
        file = self._file(candidate, part).with_suffix(".pth")
        try:
            check_file(file)
            check_sums(file)
            states = load_plain(file)
            found = [[_finite(state) for state in states[part]] for part in ("classifiers", "losses")]
        except (LtDetError, LookupError, TypeError, ValueError) as error:
            raise LtDetError(f"{file} cannot be read; delete it and its .json, and run the bake-off again.") from error
        return ClassifierStates(*found)

    def read_written(self, candidate: Candidate) -> dict[Task, Metrics] | None:
        """The metrics of the candidate's written detector; None if they are not known."""
        try:
            return msgspec.json.decode(self._file(candidate, "written").read_bytes(), type=dict[Task, Metrics])
        except (OSError, RecursionError, msgspec.DecodeError):
            return None

    def keep_written(self, candidate: Candidate, metrics: dict[Task, Metrics]) -> None:
        """Keep the metrics of the candidate's written detector, whose evaluation takes long.

        Raises:
            LtDetError: the folder cannot be written.
        """
        file = self._file(candidate, "written")
        with writing_to(file.parent, "The metrics of the written detector"):
            write_atomically(file, msgspec.json.encode(metrics))

    def _file(self, candidate: Candidate, part: str) -> Path:
        if candidate.name not in self._folder_of:
            content = json.dumps([self._depends_on(candidate), asdict(candidate)], sort_keys=True, default=str)
            digest = hashlib.sha256(content.encode()).hexdigest()[:12]
            name = re.sub(r"[^a-z0-9]+", "_", candidate.name.lower()).strip("_")[:60]
            self._folder_of[candidate.name] = self.folder / f"{name}-{digest}"
        return self._folder_of[candidate.name] / f"{part}.json"


def _finite(state: Any) -> dict[str, Tensor]:
    """A state dict as it was read.

    Raises:
        ValueError: it is not a dictionary of tensors, or has numbers that are infinite or NaN.
    """
    tensors = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    if not tensors or not all(torch.isfinite(value).all() for value in state.values()):
        raise ValueError("no finite weights by name")
    return dict(state)
