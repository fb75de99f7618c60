"""What is mutated, and the commands that read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutations import JSON, YAML, Format


@dataclass(frozen=True)
class Subject:
    """A file that is mutated.

    Attributes:
        file: its path in the folder of `write_files`.
        arguments: of lt-det; ``{}`` stands for the folder. Output goes to ``{}/out``.
        form: json or yaml; None: only bytes are mutated.
        outputs: files whose content is compared, besides what is printed; patterns below the folder.
        ordinary: the changes, see `differences`, after which another output is right: the reviewed list, as patterns.
            None: any output is right as long as it is an answer.
        runs: mutations in a test; the long run takes more.
    """

    file: str
    arguments: Sequence[str]
    form: Format | None = JSON
    outputs: Sequence[str] = ()
    ordinary: Sequence[tuple[str, Sequence[str]]] | None = None
    runs: int = 50

    def command(self, folder: Path) -> list[str]:
        return [argument.replace("{}", str(folder)) for argument in self.arguments]


_SET = ("value", "missing", "new")  # items of a list: a set with other items has other numbers

# Annotations that are right and other: objects elsewhere, images of another size, other names, other buckets.
_ANNOTATIONS = (
    ("images.*", _SET), ("annotations.*", _SET), ("categories.*", _SET),
    ("images.*.width", ("value", "int to float")), ("images.*.height", ("value", "int to float")),
    ("images.*.id", ("value",)), ("images.*.file_name", ("value", "missing")),
    ("images.*.neg_category_ids*", ("value", "missing", "new", "list to NoneType")),
    ("images.*.not_exhaustive_category_ids*", ("value", "missing", "new", "list to NoneType")),
    ("annotations.*.image_id", ("value",)), ("annotations.*.category_id", ("value",)), ("annotations.*.id", ("value",)),
    ("annotations.*.bbox.*", ("value", "int to float")), ("annotations.*.area", ("value", "missing", "int to float")),
    ("annotations.*.iscrowd", ("value", "missing", "int to bool")),
    ("annotations.*.segmentation*", ("value", "missing", "new", "int to float")),
    ("categories.*.id", ("value",)), ("categories.*.name", ("value",)),
    ("categories.*.frequency", ("value", "missing")),
)  # fmt: skip
_RESULTS = (
    ("*", _SET), ("*.image_id", ("value",)), ("*.category_id", ("value",)),
    ("*.bbox.*", ("value", "int to float")), ("*.score", ("value", "float to int")),
)  # fmt: skip
_COUNTS = (
    ("image_counts.*", ("value",)), ("instance_counts.*", ("value",)), ("instance_counts", ("list to NoneType",)),
    ("names.*", ("value",)), ("num_images", ("value",)), ("source", ("value",)), ("fingerprint", ("value",)),
)  # fmt: skip
# Numbers may be unknown, and parts that files of earlier versions lack may be missing.
_EVALUATION = (
    ("*", ("value", "new", "float to int", "int to float")),
    *((key, ("missing", "* to NoneType")) for key in (
        "num_images", "fingerprint", "ground_truth", "image_root", "results", "classes.*.id", "classes.*.objects",
        "classes.*.images", "classes.*.bucket", "buckets.edges", "tasks.bbox.class_ar", "tasks.bbox.intervals*",
        "tasks.bbox.resamples", "tasks.bbox.precision_recall*", "tasks.bbox.errors*", "tasks.bbox.calibration*",
    )),
    ("tasks.bbox.metrics.*", ("missing", "* to NoneType")), ("tasks.bbox.class_a*.*", ("* to NoneType",)),
)  # fmt: skip
_EVALUATE = ("evaluate", "--gt", "{}/coco.json", "--results", "{}/coco_results.json")
_LVIS = ("evaluate", "--gt", "{}/lvis.json", "--results", "{}/lvis_results.json")

SUBJECTS: dict[str, Subject] = {
    "stats": Subject("coco.json", ("stats", "{}/coco.json"), ordinary=_ANNOTATIONS),
    "stats of LVIS": Subject("lvis.json", ("stats", "{}/lvis.json"), ordinary=_ANNOTATIONS),
    "stats with images": Subject(
        "coco.json", ("stats", "{}/coco.json", "--images", "{}/images"), ordinary=_ANNOTATIONS
    ),
    "ground truth": Subject("coco.json", _EVALUATE, ordinary=_ANNOTATIONS),
    "ground truth of LVIS": Subject("lvis.json", _LVIS, ordinary=_ANNOTATIONS),
    "results": Subject("coco_results.json", _EVALUATE, ordinary=_RESULTS),
    "results of LVIS": Subject("lvis_results.json", _LVIS, ordinary=_RESULTS),
    "training json": Subject(
        "lvis.json", (*_EVALUATE, "--train-stats", "{}/lvis.json", "--edges", "3", "8"), ordinary=_ANNOTATIONS
    ),
    "counts": Subject("counts.json", ("stats", "{}/counts.json"), ordinary=_COUNTS),
    "counts for buckets": Subject(
        "counts.json", (*_EVALUATE, "--train-stats", "{}/counts.json", "--edges", "3", "8"), ordinary=_COUNTS
    ),
    "evaluation": Subject(
        "run/inference/synthetic_val/evaluation.json", ("report", "{}/run"), outputs=("run/report/per_class.csv",),
        ordinary=_EVALUATION, runs=8,
    ),
    "evaluation to compare": Subject(
        "run/inference/synthetic_val/evaluation.json", ("compare", "{}/run", "{}/other_run", "--out", "{}/out"),
        ordinary=_EVALUATION, runs=6,
    ),
    "config": Subject("config.yaml", ("doctor", "--config", "{}/config.yaml"), YAML, runs=30),
    "checkpoint": Subject(
        "checkpoint.pth", ("doctor", "--config", "{}/config.yaml", "MODEL.WEIGHTS", "{}/checkpoint.pth"), None, runs=10
    ),
}  # fmt: skip
