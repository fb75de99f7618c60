"""Write docs/scale.md from benchmarks/results/scale.json, which `python -m benchmarks.scale` measures.

python -m benchmarks.scale.page
"""

import json
from pathlib import Path

from benchmarks.scale.sizes import DATASETS, FEATURES, FOREGROUND, ROIS
from lt_det.bakeoff.features.size import CacheSize

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "scale.json", ROOT / "docs" / "scale.md"
STOCK, SPECIFIC = "stock", "stock, a box for each class"
CACHED_ROIS, V3DET_VALIDATION = 5_000_000, 29_821  # the default limit of a bake-off; images of the validation set

INTRODUCTION = """# Thousands of classes

Time and memory with as many classes as Objects365 (365), Open Images (the 500 of its challenge), LVIS v1 (1203) and
V3Det (13,204), and what lt_det does about them. `python -m benchmarks.scale` measures each part on random inputs, on
one CPU core ({cpu}, torch {torch}, {date}, commit {commit}), and
`python -m benchmarks.scale.page` makes this page from `benchmarks/results/scale.json`. Ratios are to the same part of
Detectron2, measured in the same process (evaluation: to pycocotools, each in its own process). Times are CPU times.
[Times and memory on a GPU](gpu.md#results) are measured apart.

## In short

- **Boxes and masks: class-agnostic.** With a box for each of 13,204 classes, the box predictor takes {specific_memory}
  times the memory in training and {specific_checkpoint} times the disk space; masks for each class take {masks} per
  image. `lt-det doctor` warns of both from 2000 classes on. Set `MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG True` and
  `MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK True`; `lt-det init` does.
- **Losses: any of them.** No loss keeps a table of all pairs of classes, which would take {table}; the largest state is
  {state}.
- **Detections: the low score threshold of the LVIS configs costs little.** lt_det's heads look at the best candidates
  first, and stop when they have enough detections.
- **Evaluation: time and memory grow more slowly than the number of classes.** The boxes of {images} images take
  {few} at 365 classes and {many} at 13,204, where pycocotools takes {official}.
"""

TRAINING = """
## The box predictor in training

Forward, losses and backward for one image with {rois} RoIs of {features} features. The reference is Detectron2's
softmax with class-agnostic boxes. A checkpoint holds weights and momentum.
"""

LOSSES = """
## The losses

Peak memory / time of the same step with lt_det's class-agnostic head, relative to Detectron2's. "State" is what the
loss adds to a checkpoint at 13,204 classes. The machine was busy: times are accurate to about 30 %, as softmax shows,
which computes what Detectron2 computes.
"""

LOSSES_REMARK = """
The memory of every loss is proportional to the number of classes, as that of the logits is ({logits} per image at
13,204 classes). Seesaw's mitigation factor and EQL's weights are computed for the classes of the RoIs, not for all
pairs of classes. `lt-det diagnose` counts confusions by the pairs that occur. ldam and seesaw use the cosine classifier
by default, which normalizes a copy of its weights ({weights} at 13,204 classes); that accounts for their memory.
"""

MASKS = """
## Masks

The last layers of the mask head on the {foreground} foreground RoIs of an image, forward and backward. The memory with
a mask for each class is extrapolated from {measured} RoIs.
"""

DETECTIONS = """
## Detections

Score threshold, IoU threshold and 300 detections as in the LVIS configs; scores as at the start of a training with a
sigmoid loss, so that each class of each proposal is a candidate. Both give the same detections. Detectron2 suppresses
class by class among all candidates; lt_det looks at the best 1200 first. With the 1000 proposals of a real detector,
only lt_det was measured.
"""

ROUNDING = """
For up to 1000 candidates (on a GPU 25,000), torchvision suppresses all classes at once: it adds an offset for each
class to the boxes, in float32. With thousands of classes the offsets are large, and the boxes are rounded, to steps of
2 pixels for the last classes of V3Det. From about 3,100 classes on (at 1333 pixels), lt_det therefore suppresses each
class separately; with fewer, it does what Detectron2 does. The table counts the images, of {images} with {proposals}
small, overlapping boxes of the last ten classes, whose detections differ from those of separate classes.
"""

EVALUATION = """
## Evaluation

Boxes of {images} images with 300 detections each, COCO protocol; each package in its own process.
[Evaluation](evaluation_speed.md#many-classes) has more on memory.
"""

CACHE = """
## The feature cache of a bake-off

Its size does not depend on the number of classes: a row holds features, a label and a box. {rois:,} RoIs (the default
limit) and the proposals of V3Det's validation set ({images:,} images with 1000 each) take {size} (computed). A training
step on it costs what [the losses](#the-losses) cost.
"""


def megabytes(value):
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.3g} MB"


def duration(seconds):
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"


def table(columns, rows):
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


class Results:
    """Rows by part and number of classes."""

    def __init__(self, content):
        self.machine = content["machine"]
        self._rows = content["rows"]

    def of(self, part, num_classes):
        """The rows of a part, by case."""
        return {row["case"]: row for row in self._rows if (row["part"], row["classes"]) == (part, num_classes)}


def names():
    return [(f"{name}, {number:,}", number) for name, number in DATASETS.items()]


def training_table(results):
    rows = []
    for name, number in names():
        cases = results.of("training", number)
        stock, specific = cases[STOCK], cases[SPECIFIC]
        ratios = [specific[key] / stock[key] for key in ("seconds", "peak_bytes", "checkpoint_bytes")]
        sizes = [ROIS * (number + 1) * 4, stock["peak_bytes"], stock["checkpoint_bytes"]]
        rows.append([name, *map(megabytes, sizes), *(f"{ratio:.1f}" for ratio in ratios)])
    columns = ["classes", "logits", "memory", "checkpoint", "a box for each class: time", "memory", "checkpoint"]
    return table(columns, rows)


def losses_table(results):
    by_number = {number: results.of("training", number) for _, number in names()}
    rows = []
    for loss in [name for name in by_number[13_204] if not name.startswith(STOCK)]:
        cells = []
        for cases in by_number.values():
            ratios = [cases[loss][key] / cases[STOCK][key] for key in ("peak_bytes", "seconds")]
            cells.append(f"{ratios[0]:.1f} / {ratios[1]:.1f}")
        state = by_number[13_204][loss]["state_bytes"]
        rows.append([loss, *cells, megabytes(state) if state >= 1000 else f"{state} bytes" if state else "none"])
    return table(["loss", *(name for name, _ in names()), "state"], rows)


def masks_table(results):
    rows = []
    for name, number in names():
        cases = results.of("masks", number)
        one, each = cases["one mask"], cases["a mask for each class"]
        sizes = [one["peak_bytes"], each["logits_bytes"], each["peak_bytes"]]
        rows.append([name, *map(megabytes, sizes), f"{each['peak_bytes'] / one['peak_bytes']:.1f}"])
    return table(["classes", "one mask: memory", "a mask for each class: logits", "memory", "ratio of memory"], rows)


def detections_table(results):
    rows = []
    for name, number in names():
        stock, ours, whole = results.of("detections", number).values()
        seconds = [duration(one["seconds"]) for one in (stock, ours)]
        ratio = f"{stock['seconds'] / ours['seconds']:.0f}"
        rows.append(
            [
                name,
                *seconds,
                ratio,
                f"{whole['candidates']:,}",
                duration(whole["seconds"]),
                megabytes(whole["peak_bytes"]),
            ]
        )
    proposals = next(iter(results.of("detections", 365))).split(", ")[1]
    columns = ["classes", f"{proposals}: Detectron2", "lt_det", "ratio"]
    return table([*columns, "candidates of 1000 proposals", "lt_det", "memory"], rows)


def rounding_table(results):
    rows = [
        [name, *(str(row["images_with_other_detections"]) for row in results.of("rounding", number).values())]
        for name, number in names()
    ]
    return table(["classes", "Detectron2", "lt_det"], rows)


def evaluation_table(results):
    rows = []
    for name, number in names():
        (ours,), (stock,) = (results.of(part, number).values() for part in ("evaluation", "evaluation, stock"))
        values = [f(one[key]) for key, f in (("seconds", duration), ("peak_bytes", megabytes)) for one in (stock, ours)]
        rows.append([name, *values, f"{stock['seconds'] / ours['seconds']:.0f}"])
    columns = ["classes", "pycocotools", "lt_det", "pycocotools, memory", "lt_det, memory", "ratio of time"]
    return table(columns, rows)


def page(content):
    """The text of docs/scale.md."""
    results = Results(content)
    cases, masks = results.of("training", 13_204), results.of("masks", 13_204)
    (evaluated,) = results.of("evaluation", 365).values()
    size = CacheSize.of(
        CACHED_ROIS, {"val": V3DET_VALIDATION * 1000}, channels=FEATURES, num_stages=1, bytes_per_feature=2
    )
    rounding = next(iter(results.of("rounding", 365).values()))
    parts = [
        INTRODUCTION.format(
            specific_memory=f"{cases[SPECIFIC]['peak_bytes'] / cases[STOCK]['peak_bytes']:.1f}",
            specific_checkpoint=f"{cases[SPECIFIC]['checkpoint_bytes'] / cases[STOCK]['checkpoint_bytes']:.1f}",
            masks=megabytes(masks["a mask for each class"]["logits_bytes"]),
            table=megabytes(13_204**2 * 8),
            images=evaluated["images"],
            few=duration(evaluated["seconds"]),
            many=duration(results.of("evaluation", 13_204)["lt_det"]["seconds"]),
            official=duration(results.of("evaluation, stock", 13_204)["pycocotools"]["seconds"]),
            state=megabytes(max(case["state_bytes"] for case in cases.values())),
            **results.machine,
        ),
        TRAINING.format(rois=ROIS, features=FEATURES),
        training_table(results),
        LOSSES,
        losses_table(results),
        LOSSES_REMARK.format(logits=megabytes(ROIS * 13_205 * 4), weights=megabytes(FEATURES * 13_204 * 4)),
        MASKS.format(foreground=FOREGROUND, measured=masks["a mask for each class"]["measured_rois"]),
        masks_table(results),
        DETECTIONS,
        detections_table(results),
        ROUNDING.format(images=rounding["images"], proposals=rounding["proposals"]),
        rounding_table(results),
        EVALUATION.format(images=evaluated["images"]),
        evaluation_table(results),
        CACHE.format(rois=CACHED_ROIS, images=V3DET_VALIDATION, size=megabytes(size.num_bytes)),
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def main():
    PAGE.write_text(page(json.loads(RESULTS.read_text())))
    print(f"Written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
