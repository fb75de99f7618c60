"""The content of ``evaluation.json``, for its writer and all its readers.

Every value is finite; None stands for "n/a" (nothing to average) or "not known". Numbers of AP and AR are in percent.
A group is "all" or the name of a bucket. Keys that files of earlier versions lack have a default; keys that no version
has are refused.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from lt_det.errors import LtDetError
from lt_det.evaluation.protocols import PROTOCOLS, AreaFrom, Task
from lt_det.io.json.files import reading, write_json
from lt_det.statistics.buckets import metric_name
from lt_det.terminal import count_of

EVALUATION_NAME = "evaluation.json"
ALL = "all"  # the group of all classes
TASK_NAMES: dict[Task, str] = {"bbox": "Boxes", "segm": "Masks"}

VERSION = 2  # of the schema; files of the first one have no version

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # whole numbers beyond that are not exact in other readers
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Points = Annotated[float, msgspec.Meta(ge=-100, le=100)]  # differences of percents
Numbers = list[float | None]
Fractions = list[Fraction | None]
Percents = list[Percent | None]
Interval = Annotated[list[Percent], msgspec.Meta(min_length=2, max_length=2)]
ProtocolName = Literal["lvis", "coco", "fixed", "pool"]


class Buckets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `FrequencyBuckets`."""

    names: list[str]
    by: Literal["images", "instances"]
    edges: list[Annotated[int, msgspec.Meta(ge=0)] | Annotated[float, msgspec.Meta(ge=0)]] | None

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"buckets.names has a name twice: {self.names}")
        if self.edges and any(high <= low for low, high in itertools.pairwise(self.edges)):
            raise ValueError(f"buckets.edges are not ascending: {self.edges}")


class ClassEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A class: its bucket, its training images, and the number of objects to find in the evaluated set."""

    name: str
    id: int | str | None = None
    bucket: str | None
    images: Count | None
    objects: Count | None = None


class Resamples(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The values of each metric under every bootstrap draw; `images` is the fingerprint of the resampled images."""

    seed: Count
    images: str
    values: dict[str, Percents]


class PrecisionRecall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Interpolated precision at the 101 recalls, at two IoU thresholds and as mean over the ten."""

    iou_50: Fractions = msgspec.field(name="0.5")
    iou_75: Fractions = msgspec.field(name="0.75")
    mean: Fractions


class ErrorAnalysis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """AP50 lost to each error type (see `metrics.tide`) per group and per class, and the number of errors per class."""

    iou: Fraction
    background_iou: Fraction
    types: list[str]
    loss: dict[str, dict[str, Points | None] | None]
    class_loss: dict[str, list[Points | None]]
    class_ap50: Percents | None = None
    count: dict[str, list[Count]] | None = None


class CalibrationGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expected calibration error in 0..1; and for each bin the number of detections, mean score and precision."""

    ece: Fraction | None
    count: list[Count]
    score: Fractions
    precision: Fractions


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Score calibration of each group at one IoU threshold (see `metrics.score_calibration`)."""

    iou: Fraction | None = None
    edges: list[Fraction]
    groups: dict[str, CalibrationGroup | None]


class TaskEvaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results of one task: boxes or masks."""

    metrics: dict[str, Percent | None]
    bucket_sizes: dict[str, Count]
    class_ap: Percents
    class_ar: Percents | None = None
    intervals: dict[str, Interval | None] | None = None
    resamples: Resamples | None = None
    precision_recall: dict[str, PrecisionRecall | None] | None = None
    errors: ErrorAnalysis | None = None
    calibration: Calibration | None = None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An evaluation of one dataset.

    Attributes:
        version: of the schema; left out in files of the first one.
        protocol, max_dets: its name, and how many detections count instead of its own limit; left out for its own.
        area_from: "box" if the areas of detected masks are those of their boxes; left out for those of the masks.
        ground_truth, image_root, results: absolute paths; `results` may be relative to the evaluation's own folder.
        results_size: bytes of `results` as it was evaluated; left out if it is in the evaluation's own folder.
        fingerprint: of the images and their ground truth under the protocol; evaluations with the same one can be
            paired.
    """

    version: Count | msgspec.UnsetType = msgspec.UNSET
    dataset: str
    protocol: ProtocolName
    max_dets: Annotated[int, msgspec.Meta(gt=0, le=2**31)] | msgspec.UnsetType = msgspec.UNSET
    area_from: AreaFrom | msgspec.UnsetType = msgspec.UNSET
    num_images: Count | None = None
    fingerprint: str | None = None
    ground_truth: str | None = None
    image_root: str | None = None
    results: str | None = None
    results_size: Count | msgspec.UnsetType = msgspec.UNSET
    buckets: Buckets
    classes: list[ClassEntry]
    tasks: dict[Task, TaskEvaluation]

    def __post_init__(self) -> None:
        for entry in self.classes:
            if entry.bucket not in (None, *self.buckets.names):
                raise ValueError(f"the bucket '{entry.bucket}' of class '{entry.name}' is not in buckets.names")
        if not self.tasks:
            raise ValueError("tasks is empty")
        for name, task in self.tasks.items():
            try:
                _check_task(task, self.buckets.names, len(self.classes))
            except KeyError as error:
                raise ValueError(f"tasks.{name} has no {error.args[0]}") from None
            except ValueError as error:
                raise ValueError(f"tasks.{name}.{error}") from None

    @property
    def shown_buckets(self) -> list[str]:
        """See `shown_buckets`."""
        return shown_buckets(self.buckets.names, self.classes)

    @property
    def hidden_metrics(self) -> set[str]:
        """AP and AR of the buckets that are not shown."""
        hidden = set(self.buckets.names) - set(self.shown_buckets)
        return {group_metric(name, metric) for name in hidden for metric in ("AP", "AR")}

    @property
    def rules(self) -> str:
        """The protocol, for headings, and every departure from it."""
        areas = "; areas of masks are those of their boxes" if self.area_from == "box" and "segm" in self.tasks else ""
        return protocol_rules(self.protocol, self.max_dets) + areas

    def bucket_index(self, entry: ClassEntry) -> int | None:
        """Position of a class's bucket."""
        return None if entry.bucket is None else self.buckets.names.index(entry.bucket)

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return content


def shown_buckets(names: Sequence[str], classes: Sequence[ClassEntry]) -> list[str]:
    """The buckets that tables and pages show; files have all of them.

    A bucket without a class is left out, and so is one that holds all classes: it would repeat the numbers of all.
    """
    sizes = Counter(entry.bucket for entry in classes)
    return [name for name in names if 0 < sizes[name] < len(classes)]


def protocol_rules(name: str, max_dets: int | msgspec.UnsetType) -> str:
    """A protocol with the limit that a file has, in words; see `Protocol.rules`."""
    return PROTOCOLS[name].with_max_dets(None if max_dets is msgspec.UNSET else max_dets).rules


def group_metric(group: str, kind: str = "AP") -> str:
    """Name of the metric of a group: ``AP``, ``APr``, ``AR-unseen``."""
    return kind if group == ALL else metric_name(group, kind)


def parse_evaluation(content: str | bytes) -> Evaluation:
    """The text of a file, with its types, ranges and lengths checked.

    Raises:
        msgspec.DecodeError: it is not an evaluation.
    """
    version = msgspec.json.decode(content, type=_Version).version
    if version > VERSION:
        raise msgspec.ValidationError(f"version {version} is newer than the {VERSION} that this lt_det knows")
    return msgspec.json.decode(content, type=Evaluation)


class _Version(msgspec.Struct):
    version: int = 1


def read_evaluation(file: Path) -> Evaluation:
    """
    Raises:
        LtDetError: the file cannot be read or is not an evaluation; the message names the file and the key.
    """
    with reading(file, "an evaluation", "evaluate again"):
        return parse_evaluation(file.read_bytes())


def read_evaluations(output_dir: Path) -> dict[str, Evaluation]:
    """The evaluations in a training's output folder.

    Args:
        output_dir: ``inference/<dataset>/evaluation.json`` are read.

    Returns:
        Evaluations by the path of the dataset's folder in ``inference``.

    Raises:
        LtDetError: nothing has been evaluated there, or a file is not an evaluation.
    """
    found = {
        file.parent.name: read_evaluation(file) for file in sorted(output_dir.glob(f"inference/*/{EVALUATION_NAME}"))
    }
    for file in sorted(output_dir.glob(f"inference/*/*/**/{EVALUATION_NAME}")):
        name = file.parent.relative_to(output_dir / "inference").as_posix()
        with contextlib.suppress(LtDetError):  # a copy that someone put there may be anything
            if (evaluation := read_evaluation(file)).dataset == name:  # a dataset whose name has a slash
                found[name] = evaluation
    if not found:
        inside = next((folder for folder in (output_dir, *output_dir.parents) if folder.name == "inference"), None)
        if inside is not None and any(inside.glob(f"*/{EVALUATION_NAME}")):
            raise LtDetError(f"{output_dir} is in the folder of a run; name that folder, {inside.parent}.")
        raise LtDetError(
            f"{output_dir} has no inference/*/evaluation.json; train there first, run lt-det train with "
            "--eval-only, or lt-det evaluate with --out."
        )
    return found


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write ``evaluation.json`` atomically.

    Returns:
        Path of the file.

    Raises:
        LtDetError: the folder cannot be written.
    """
    return write_json(evaluation.to_dict(), folder / EVALUATION_NAME, "The evaluation")


def _check_task(task: TaskEvaluation, buckets: Sequence[str], num_classes: int) -> None:
    """Raise KeyError or ValueError with the key."""
    for name in ("AP", "AP50", "AP75", *map(group_metric, buckets)):
        _require(task.metrics, "metrics", name)
    for name in buckets:
        _require(task.bucket_sizes, "bucket_sizes", name)
    _check_length(task.class_ap, "class_ap", num_classes)
    _check_length(task.class_ar, "class_ar", num_classes)
    for name, ends in (task.intervals or {}).items():
        if ends is not None and ends[0] > ends[1]:
            raise ValueError(f"intervals.{name} is from {ends[0]} to {ends[1]}")
    if task.resamples is not None:
        draws = [len(values) for values in task.resamples.values.values()]
        if len(set(draws)) > 1:
            raise ValueError(f"resamples.values has lists of {min(draws)} and of {max(draws)} draws")
    groups = [ALL, *buckets]
    if task.precision_recall is not None:
        for group in groups:
            _require(task.precision_recall, "precision_recall", group)
            if curves := task.precision_recall[group]:
                for curve in (curves.iou_50, curves.iou_75, curves.mean):
                    _check_length(curve, f"precision_recall.{group}", 101)
    if errors := task.errors:
        for kind in errors.types:
            for group in groups:
                _require(errors.loss, "errors.loss", group)
                if (loss := errors.loss[group]) is not None:
                    _require(loss, f"errors.loss.{group}", kind)
            _require(errors.class_loss, "errors.class_loss", kind)
            _check_length(errors.class_loss[kind], f"errors.class_loss.{kind}", num_classes)
            if errors.count is not None:
                _require(errors.count, "errors.count", kind)
                _check_length(errors.count[kind], f"errors.count.{kind}", num_classes)
        _check_length(errors.class_ap50, "errors.class_ap50", num_classes)
    if calibration := task.calibration:
        if any(high <= low for low, high in itertools.pairwise(calibration.edges)):
            raise ValueError("calibration.edges are not ascending")
        for group in groups:
            _require(calibration.groups, "calibration.groups", group)
            if entry := calibration.groups[group]:
                for values in (entry.count, entry.score, entry.precision):
                    _check_length(values, f"calibration.groups.{group}", len(calibration.edges) - 1)


def _require(mapping: dict[str, Any], key: str, name: str) -> None:
    if name not in mapping:
        raise KeyError(f"{key}.{name}")


def _check_length(values: Sequence[Any] | None, key: str, length: int) -> None:
    if values is not None and len(values) != length:
        raise ValueError(f"{key} has {count_of(len(values), 'entry')}, not {length}")
