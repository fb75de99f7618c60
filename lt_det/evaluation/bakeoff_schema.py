"""The content of ``bakeoff.json``, for its writer and all its readers.

Every value is finite; None stands for "n/a" or "not known". Numbers of AP are box AP in percent, differences are in
points. Keys of metrics are those of ``evaluation.json`` (AP, AP50, APr, ...) and `BUCKET_MEAN`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import (
    Buckets,
    ClassEntry,
    Count,
    Percent,
    Percents,
    Points,
    ProtocolName,
    group_metric,
    protocol_rules,
    shown_buckets,
)
from lt_det.io.json.files import reading, write_json
from lt_det.statistics.buckets import UNSEEN
from lt_det.terminal import count_of

BAKEOFF_NAME = "bakeoff.json"
BUCKET_MEAN = "bucket mean"  # the mean of the buckets' AP; the name of a bucket's metric begins with AP

PointsInterval = Annotated[list[Points], msgspec.Meta(min_length=2, max_length=2)]

# as_is: the detector as it stands; retrained: its own loss, trained on the cached features like every candidate;
# post_hoc: an adjustment of the classifier as it stands; meta: class weights or a hyper-parameter are learned.
Kind = Literal["as_is", "retrained", "trained", "post_hoc", "meta"]
Metrics = dict[str, Percent | None]


class DetectorEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The frozen detector: path of its checkpoint, the name of its loss, and its number of RoI stages."""

    checkpoint: str
    loss: str
    stages: int = 1


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """A point of a learning curve: the training loss, and the measure on held-out images where there are any."""

    step: int
    loss: float | None
    held_out: float | None = None


class SeedResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A training on all training images, evaluated on the evaluation set.

    Attributes:
        class_ap: (K,) AP of each class.
        seconds: wall time of the training alone.
        steps: taken, which may be fewer than the budget.
    """

    seed: Count
    metrics: Metrics
    class_ap: Percents
    curve: list[CurvePoint] = []
    seconds: float = 0.0
    steps: Count = 0


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mean over the seeds and standard deviation (n - 1); the latter is None for fewer than two seeds."""

    mean: Percent | None
    deviation: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Delta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A candidate's metric minus the retrained baseline's, and the paired 95 % interval of this difference."""

    value: Points | None
    interval: PointsInterval | None = None


class FoldResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A training on the other folds, evaluated on this one; `differences` are from the baseline on this fold."""

    fold: int
    metrics: Metrics
    differences: dict[str, Delta] = {}
    curve: list[CurvePoint] = []


class TriedRate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A learning rate, and the measure on the held-out images by which it was chosen or not."""

    learning_rate: float
    held_out: float | None


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One candidate.

    Attributes:
        name: unique within the bake-off.
        overrides: config keys and values that differ from the detector's config.
        sampler: of the RoIs.
        oversampling: the synthetic over-sampling of features; empty for none.
        adjustment: name and value of the post-hoc adjustment.
        learning_rate: the chosen one; None if nothing was trained.
        metrics: over `seeds`.
        intervals: 95 % intervals of the means, from bootstrap draws of the evaluation images.
        differences: from the retrained baseline, as means over the seeds.
        failed: why there is no result, in a sentence.
    """

    name: str
    kind: Kind
    overrides: dict[str, Any] = {}
    sampler: str = "plain"
    oversampling: str = ""
    adjustment: tuple[str, float] | None = None
    learning_rate: float | None = None
    learning_rates: list[TriedRate] = []
    seeds: list[SeedResult] = []
    metrics: dict[str, Spread] = {}
    intervals: dict[str, PointsInterval | None] = {}
    differences: dict[str, Delta] = {}
    folds: list[FoldResult] = []
    failed: str | None = None

    @property
    def finished(self) -> bool:
        """Whether it has been evaluated on the evaluation set."""
        return self.failed is None and bool(self.seeds)

    @property
    def seconds(self) -> float | None:
        """Mean wall time of its trainings."""
        return sum(seed.seconds for seed in self.seeds) / len(self.seeds) if self.seeds else None

    def mean(self, metric: str) -> float | None:
        """Mean over the seeds; None if it is n/a or not known."""
        return spread.mean if (spread := self.metrics.get(metric)) else None

    def fold_mean(self, metric: str) -> float | None:
        """Mean over the held-out folds that have it; None if none has."""
        known = [value for fold in self.folds if (value := fold.metrics.get(metric)) is not None]
        return sum(known) / len(known) if known else None


class Recommendation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the stated rule chooses.

    Attributes:
        rule: in words.
        name: of the recommended candidate; None while there is nothing to choose from.
        reason: why this one, or why none, in words.
        for_ap_only: the candidate with the best AP, whatever the buckets.
        for_ap_only_reason: in words.
    """

    rule: str
    name: str | None
    reason: str
    for_ap_only: str | None = None
    for_ap_only_reason: str = ""


class Agreement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well the held-out folds predict the evaluation set; the rule is applied to both.

    Attributes:
        folds: number of folds.
        folds_agreeing: how many of them, each taken alone, name the candidate that the evaluation set names.
        winner_on_folds, winner_on_evaluation: names.
        rank_correlation: Spearman's, of the mean over buckets of the candidates; None for fewer than three.
    """

    folds: int
    folds_agreeing: int
    winner_on_folds: str
    winner_on_evaluation: str
    rank_correlation: float | None = None


class Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The candidate that was written as an ordinary checkpoint, and its metrics under ``--eval-only``, by task."""

    name: str
    config: str
    checkpoint: str
    metrics: dict[Task, Metrics] = {}


class Bakeoff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bake-off on one detector.

    Attributes:
        dataset: the evaluation set; `protocol` is the one that it was evaluated by.
        training_datasets, training_images, rois: the sets, images and cached RoIs that candidates train on.
        classes: in class order, K of them.
        steps, batch_size: the budget of every training.
        seeds, num_folds: as asked for.
        seconds: wall time of each part of the work, by its name.
        held_out_measure: what `CurvePoint.held_out` and `TriedRate.held_out` are, in words.
        device: what it ran on, in words.
        limits: sentences on what the numbers cannot say.
        unfinished: the work was interrupted; a second call goes on.
    """

    version: str = ""
    detector: DetectorEntry
    dataset: str
    protocol: ProtocolName
    max_dets: Count | msgspec.UnsetType = msgspec.UNSET
    num_images: Count | None = None
    training_datasets: list[str] = []
    training_images: Count | None = None
    rois: Count | None = None
    buckets: Buckets
    classes: list[ClassEntry]
    steps: Count | None = None
    batch_size: Count | None = None
    seeds: list[Count] = []
    num_folds: Count = 0
    candidates: list[Entry]
    recommendation: Recommendation
    agreement: Agreement | None = None
    written: Written | None = None
    seconds: dict[str, float] = {}
    held_out_measure: str = "one by which learning rates are chosen"
    device: str = ""
    limits: list[str] = []
    unfinished: bool = False

    def __post_init__(self) -> None:
        for entry in self.classes:
            if entry.bucket not in (None, *self.buckets.names):
                raise ValueError(f"the bucket '{entry.bucket}' of class '{entry.name}' is not in buckets.names")
        names = [candidate.name for candidate in self.candidates]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"candidates has '{name}' twice")
        written = self.written.name if self.written else None
        for used in (self.recommendation.name, self.recommendation.for_ap_only, written):
            if used is not None and used not in names:
                raise ValueError(f"'{used}' is recommended or written, but is not in candidates")
        for candidate in self.candidates:
            try:
                _check_candidate(candidate, self.buckets.names, len(self.classes))
            except ValueError as error:
                raise ValueError(f"candidate '{candidate.name}': {error}") from None

    @property
    def rules(self) -> str:
        """The protocol, for headings; see `Evaluation.rules`."""
        return protocol_rules(self.protocol, self.max_dets)

    def bucket_index(self, entry: ClassEntry) -> int | None:
        """Position of a class's bucket."""
        return None if entry.bucket is None else self.buckets.names.index(entry.bucket)

    def is_complete(self, entry: Entry) -> bool:
        """Whether all seeds and folds of a candidate are there."""
        if entry.kind in ("as_is", "post_hoc"):
            return bool(entry.seeds)
        return len(entry.seeds) >= len(self.seeds) and len(entry.folds) >= self.num_folds

    def entry(self, name: str) -> Entry:
        """The candidate of a name."""
        return next(candidate for candidate in self.candidates if candidate.name == name)

    @property
    def baseline(self) -> Entry | None:
        """The retrained baseline; None while it is not there."""
        return next((candidate for candidate in self.candidates if candidate.kind == "retrained"), None)

    @property
    def shown_buckets(self) -> list[str]:
        """See `lt_det.evaluation.schema.shown_buckets`."""
        return shown_buckets(self.buckets.names, self.classes)

    @property
    def bucket_metrics(self) -> list[str]:
        """The names of the shown buckets' AP, from rare to frequent."""
        return [group_metric(name) for name in self.shown_buckets]

    @property
    def shown_metrics(self) -> list[str]:
        """AP, the shown buckets' AP, and the mean over the buckets, which is AP where no bucket is shown."""
        return ["AP", *self.bucket_metrics, BUCKET_MEAN] if self.shown_buckets else ["AP"]

    @property
    def has_intervals(self) -> bool:
        """Whether there were bootstrap draws."""
        return any(any(candidate.intervals.values()) for candidate in self.candidates)

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return content


def seen_buckets(names: Sequence[str]) -> list[str]:
    """The buckets of classes with training samples, from rare to frequent; all if there is no other."""
    return [name for name in names if name != UNSEEN] or list(names)


def bucket_mean(metrics: Mapping[str, float | None], buckets: Sequence[str]) -> float | None:
    """The mean AP of those of the seen buckets that have one; None if none has."""
    known = [value for name in seen_buckets(buckets) if (value := metrics.get(group_metric(name))) is not None]
    return sum(known) / len(known) if known else None


def read_bakeoff(file: Path) -> Bakeoff:
    """
    Raises:
        LtDetError: the file cannot be read or is not a bake-off; the message names the file and the key.
    """
    with reading(file, "a bake-off", "run lt-det bakeoff again"):
        return msgspec.json.decode(file.read_bytes(), type=Bakeoff)


def write_bakeoff(bakeoff: Bakeoff, folder: Path) -> Path:
    """Write ``bakeoff.json`` atomically.

    Returns:
        Path of the file.

    Raises:
        LtDetError: the folder cannot be written.
    """
    return write_json(bakeoff.to_dict(), folder / BAKEOFF_NAME, "The bake-off", indent=1)


def _check_candidate(candidate: Entry, buckets: Sequence[str], num_classes: int) -> None:
    """Raise ValueError with the key."""
    required = ("AP", *map(group_metric, buckets))
    for key, results in (("seeds", candidate.seeds), ("folds", candidate.folds)):
        for result in results:
            for name in required:
                if name not in result.metrics:
                    raise ValueError(f"{key} has no metric {name}")
    for result in candidate.seeds:
        if len(result.class_ap) != num_classes:
            raise ValueError(f"seeds.class_ap has {count_of(len(result.class_ap), 'entry')}, not {num_classes}")
    if candidate.seeds:
        for name in required:
            if name not in candidate.metrics:
                raise ValueError(f"metrics has no {name}")
