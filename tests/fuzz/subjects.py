"""What is mutated, and the commands that read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.checkpoints import CHECKPOINT
from tests.fuzz.mutations import JSON, YAML, Format

OUT = "out"  # folder of what a command writes; empty, or a copy, at its start


@dataclass(frozen=True)
class Subject:
    """A file that is mutated.

    Attributes:
        file: its path in the folder of `write_files`.
        arguments: of the program; ``{}`` stands for the folder. Output goes to ``{}/out``.
        form: json, yaml or checkpoint; None: only bytes are mutated.
        outputs: files whose content is compared, besides what is printed; patterns below the folder.
        ordinary: the changes, see `differences`, after which another output is right: the reviewed list, as patterns.
            None: any output is right as long as it is an answer.
        runs: mutations in a test; the long run takes more.
        program: a key of `PROGRAMS`.
        copied: a folder, whose copy ``{}/out`` is at the start; empty: it is not there.
    """

    file: str
    arguments: Sequence[str]
    form: Format | None = JSON
    outputs: Sequence[str] = ()
    ordinary: Sequence[tuple[str, Sequence[str]]] | None = None
    runs: int = 50
    program: str = "lt-det"
    copied: str = ""

    def command(self, folder: Path) -> list[str]:
        return [argument.replace("{}", str(folder)) for argument in self.arguments]


_SET = ("value", "missing", "new")  # items of a list: a set with other items has other numbers
_ID = ("value", "int to str, other", "int to float, other")  # 7, "7" and 7.0 are one id

# Annotations that are right and other: objects elsewhere, images of another size, other names, other buckets.
_ANNOTATIONS = (
    ("images.*", _SET), ("annotations.*", _SET), ("categories.*", _SET),
    ("images.*.width", ("value", "int to float, other")), ("images.*.height", ("value", "int to float, other")),
    ("images.*.id", ("value",)), ("images.*.file_name", ("value", "missing")),
    ("images.*.neg_category_ids*", ("value", "missing", "new", "list to NoneType")),
    ("images.*.not_exhaustive_category_ids*", ("value", "missing", "new", "list to NoneType")),
    *((f"annotations.*.{key}", _ID) for key in ("id", "image_id", "category_id")),
    ("annotations.*.bbox.*", ("value", "int to float, other")),
    ("annotations.*.area", ("value", "missing", "int to float, other")),
    ("annotations.*.iscrowd", ("value", "missing", "*, other", "int to NoneType")),
    ("annotations.*.segmentation*", ("value", "missing", "new", "int to float, other")),
    ("categories.*.id", ("value",)), ("categories.*.name", ("value", "str to int")),
    ("categories.*.frequency", ("value", "missing", "str to NoneType")),
)  # fmt: skip
_RESULTS = (
    ("*", _SET), ("*.image_id", _ID), ("*.category_id", _ID),
    ("*.bbox.*", ("value", "int to float, other")), ("*.score", ("value", "float to int, other")),
)  # fmt: skip
_COUNTS = (
    ("image_counts.*", ("value",)), ("instance_counts.*", ("value",)), ("instance_counts", ("list to NoneType",)),
    ("names.*", ("value",)), ("num_images", ("value", "extreme")), ("source", ("value",)), ("fingerprint", ("value",)),
)  # fmt: skip
# Numbers may be unknown, and parts that files of earlier versions lack may be missing.
_EVALUATION = (
    ("*", ("value", "new", "float to int*", "int to float*")),
    *((key, ("missing", "* to NoneType")) for key in (
        "num_images", "fingerprint", "ground_truth", "image_root", "results", "classes.*.id", "classes.*.objects",
        "classes.*.images", "classes.*.bucket", "buckets.edges", "tasks.bbox.class_ar", "tasks.bbox.intervals*",
        "tasks.bbox.resamples", "tasks.bbox.precision_recall*", "tasks.bbox.errors*", "tasks.bbox.calibration*",
    )),
    ("tasks.bbox.metrics.*", ("missing", "* to NoneType")), ("tasks.bbox.class_a*.*", ("* to NoneType",)),
)  # fmt: skip
_EVALUATE = ("evaluate", "--gt", "{}/coco.json", "--results", "{}/coco_results.json")
_WEIGHTS = ("MODEL.WEIGHTS", "{}/checkpoint.pth", "OUTPUT_DIR", "{}/out")
_SHORT = ("SOLVER.MAX_ITER", "3", "SOLVER.STEPS", "()", "DATASETS.TEST", "()")
_RESUME = ("--config", "{}/config.yaml", "--resume", *_SHORT, "OUTPUT_DIR", "{}/out")
_TRAINED: dict[str, Any] = {"program": "train_net", "copied": "trained"}
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
        "checkpoint.pth", ("doctor", "--config", "{}/config.yaml", "MODEL.WEIGHTS", "{}/checkpoint.pth"), CHECKPOINT,
        runs=10,
    ),
    "checkpoint to strip": Subject(
        "checkpoint.pth", ("strip-weights", "{}/checkpoint.pth", "{}/out/stripped.pth"), CHECKPOINT, runs=20,
        copied="empty",
    ),
    "checkpoint to adjust": Subject(
        "checkpoint.pth",
        ("adjust", "--config", "{}/config.yaml", *_WEIGHTS, "MODEL.LONG_TAIL.CALIBRATION.METHOD", "norcal"),
        CHECKPOINT, runs=8,
    ),
    "checkpoint to export": Subject(
        "checkpoint.pth", ("--config", "{}/config.yaml", "--sample-image", "{}/images/1.png", "--output", "{}/out",
        "--threshold", "0", *_WEIGHTS), CHECKPOINT, runs=4, program="export",
    ),
    "checkpoint of a demo": Subject(
        "checkpoint.pth", ("--config", "{}/config.yaml", "--input", "{}/images/1.png", "--output", "{}/out",
        "--threshold", "0", *_WEIGHTS), CHECKPOINT, runs=12, program="demo",
    ),
    "checkpoint to evaluate": Subject(
        "checkpoint.pth", ("--config", "{}/config.yaml", "--eval-only", *_WEIGHTS), CHECKPOINT, runs=6,
        program="train_net",
    ),
    "checkpoint of a bake-off": Subject(
        "trained/model_0000001.pth", ("{}/out",), CHECKPOINT, runs=12, program="detector", copied="trained"
    ),
    "checkpoint to resume": Subject("trained/model_0000001.pth", _RESUME, CHECKPOINT, runs=8, **_TRAINED),
    "last_checkpoint": Subject("trained/last_checkpoint", _RESUME, None, runs=5, **_TRAINED),
    "config of a bake-off": Subject(
        "trained/config.yaml", ("{}/out",), YAML, runs=12, program="detector", copied="trained"
    ),
    "config beside weights": Subject(
        "trained/config.yaml", ("--config", "{}/config.yaml", "MODEL.WEIGHTS", "{}/trained/model_0000001.pth", *_SHORT,
        "SOLVER.MAX_ITER", "1", "OUTPUT_DIR", "{}/out"), YAML, runs=4, program="train_net",
    ),
    "feature cache": Subject("cache/cache.json", ("{}/cache",), program="feature cache"),
    "table of a feature cache": Subject("cache/rois/table.json", ("{}/cache",), program="feature cache"),
    "column of a feature cache": Subject("cache/rois/labels_0.npy", ("{}/cache",), None, program="feature cache"),
    "bakeoff.json": Subject("bakeoff.json", ("{}/bakeoff.json",), program="bakeoff.json"),
    "diagnosis.json": Subject("diagnosis.json", ("{}/diagnosis.json",), program="diagnosis.json"),
}  # fmt: skip
