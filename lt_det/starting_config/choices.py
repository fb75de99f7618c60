"""All values of a starting config, each with the reason for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt_det.data.keypoints import mirrored_pairs
from lt_det.starting_config.anchors import COVERED, choose_anchors, coverage
from lt_det.starting_config.detector import Detector
from lt_det.starting_config.document import Choice
from lt_det.starting_config.input_size import InputSize, choose_input_size
from lt_det.starting_config.long_tail import choose_buckets, choose_detections, choose_sampler
from lt_det.starting_config.machine import Machine
from lt_det.starting_config.reasons import REASONS
from lt_det.starting_config.schedule import Schedule, choose_schedule
from lt_det.starting_config.survey import Survey
from lt_det.terminal import count_of

_DROPS = (0.7, 0.9)  # of the learning rate, as fractions of the training
_WARM_UP = 1000  # iterations; Detectron2's default
_SIGMA = 0.05  # of keypoints; COCO's are 0.025 to 0.107

# The order of the sections in the file: first what a user looks for.
_ORDER = ("DATASETS", "INPUT", "MODEL", "SOLVER", "DATALOADER", "TEST", "SEED", "OUTPUT_DIR", "VERSION")
_MODEL_ORDER = ("META_ARCHITECTURE", "WEIGHTS", "DEVICE", "LONG_TAIL", "MASK_ON", "KEYPOINT_ON")

Choices = dict[str, Choice]


@dataclass(frozen=True, eq=False)
class DataSet:
    """A set as the config names it.

    Attributes:
        name: to register it under.
        json_file, images: absolute paths.
        survey: what the annotations show.
    """

    name: str
    json_file: Path
    images: Path
    survey: Survey


@dataclass(frozen=True, eq=False)
class Chosen:
    """
    Attributes:
        choices: values by dotted key, in the order of the file.
        input_size, schedule, batch: for a summary.
    """

    choices: Choices
    input_size: InputSize
    schedule: Schedule
    batch: int


def choose(
    train: DataSet, val: DataSet, detector: Detector, machine: Machine, output_dir: str, test: DataSet | None = None
) -> Chosen:
    """Choose every value of the config.

    Args:
        train: with one object or more.
        val: to evaluate on.
        detector: whose values do not depend on the data.
        machine: to train on.
        output_dir: OUTPUT_DIR.
        test: for the final result; it is registered, but is not in DATASETS.TEST.
    """
    keys, survey = detector.keys, train.survey
    size = choose_input_size(
        survey, detector.usual_edge, detector.largest_edge, detector.wanted_size, keys["INPUT.MIN_SIZE_TRAIN"]
    )
    batch = detector.batch_size(machine)
    drops = [step / keys["SOLVER.MAX_ITER"] for step in keys.get("SOLVER.STEPS", ())] or _DROPS
    warm_up = keys.get("SOLVER.WARMUP_ITERS", _WARM_UP)
    schedule = choose_schedule(survey.stats.num_images, batch, drops, warm_up, detector.finetunes)
    computed = {
        **_datasets(train, val, test),
        **_model(detector, survey, machine),
        **_anchors(detector, size),
        **_keypoints(survey, (train, val)),
        **_input(size, survey),
        **_sampling(survey, machine),
        **_batch(detector, machine),
        **_schedule(schedule, survey, detector),
        **_evaluation(survey, val.survey),
        "OUTPUT_DIR": Choice(output_dir, "Relative to the folder in which you start training."),
        "SEED": Choice(keys.get("SEED", 0), REASONS["SEED"]),
        "VERSION": Choice(2),
    }
    constant = {key: Choice(value, REASONS.get(key, "")) for key, value in keys.items() if _is_used(key, computed)}
    network = {key: choice for key, choice in constant.items() if key.startswith("MODEL.")}
    others = {key: choice for key, choice in constant.items() if key not in computed}
    return Chosen(_in_order(network | computed | others), size, schedule, batch)


def _is_used(key: str, computed: Choices) -> bool:
    """Whether the network has the part of a key."""
    if key.startswith("MODEL.ROI_KEYPOINT_HEAD."):
        return "MODEL.KEYPOINT_ON" in computed
    return computed["MODEL.MASK_ON"].value or not key.startswith("MODEL.ROI_MASK_HEAD.")


def _in_order(choices: Choices) -> Choices:
    def place(key: str) -> tuple[int, int]:
        section, _, rest = key.partition(".")
        name = rest.partition(".")[0]
        within = _MODEL_ORDER.index(name) if section == "MODEL" and name in _MODEL_ORDER else len(_MODEL_ORDER)
        return _ORDER.index(section) if section in _ORDER else len(_ORDER), within

    return {key: choices[key] for key in sorted(choices, key=place)}


def _datasets(train: DataSet, val: DataSet, test: DataSet | None) -> Choices:
    choices: Choices = {}
    roles = [(train, "training"), (val, "validation")]
    for data, role in roles if test is None else [*roles, (test, "test")]:
        survey, node = data.survey, f"DATASETS.REGISTER.{data.name}"
        what = f"{count_of(len(survey.files), f'{role} image')}, {count_of(len(survey.box_sizes), 'object')}."
        if data is test:
            what += f" For the final result; evaluate on them with DATASETS.TEST \"('{test.name}',)\"."
        choices[f"{node}.JSON"] = Choice(str(data.json_file), what)
        choices[f"{node}.IMAGES"] = Choice(str(data.images))
    choices["DATASETS.TRAIN"] = Choice([train.name])
    choices["DATASETS.TEST"] = Choice([val.name])
    return choices


def _model(detector: Detector, survey: Survey, machine: Machine) -> Choices:
    masks, objects = survey.masks, len(survey.box_sizes)
    of_objects = f"{masks} of {objects} objects have a segmentation"
    if survey.most_have_masks:
        rest = "; for the others, the box is used as the mask in training" if masks < objects else ""
        masks_why = f"{of_objects}{rest}. Set it to false if you only need boxes: training is faster."
    else:
        masks_why = f"{of_objects}."
    device_why = f"{machine.gpu}." if machine.gpu else "torch found no GPU here. Set it to cuda on a machine with one."
    choices = {
        "MODEL.WEIGHTS": Choice(detector.weights, detector.why),
        "MODEL.DEVICE": Choice(machine.device, device_why),
        "MODEL.MASK_ON": Choice(survey.most_have_masks, masks_why),
        "MODEL.LONG_TAIL.LOSS.NAME": Choice("softmax", REASONS["MODEL.LONG_TAIL.LOSS.NAME"]),
        "MODEL.ROI_HEADS.NUM_CLASSES": Choice(
            survey.stats.num_classes, "The number of classes in the annotation files."
        ),
        **{
            key: Choice(True, REASONS[key])
            for key in ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK")
            if survey.most_have_masks or "MASK" not in key
        },
    }
    return choices


def _anchors(detector: Detector, size: InputSize) -> Choices:
    low, middle, high = np.quantile(size.sizes, (0.05, 0.5, 0.95))
    objects = (
        f"After resizing, objects have a median size (square root of the area) of {middle:.0f} pixels; nine in ten "
        f"are between {low:.0f} and {high:.0f}."
    )
    ratios = size.boxes[:, 1] / size.boxes[:, 0]
    shapes = "Height divided by width, which is {:.2g} to {:.2g} for nine in ten objects.".format(
        *np.quantile(ratios, (0.05, 0.95))
    )
    if detector.finetunes:
        sizes = detector.keys["MODEL.ANCHOR_GENERATOR.SIZES"]
        aspect_ratios = detector.keys["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"]
        covered = coverage(size.boxes, sizes, aspect_ratios[0])
        kept = (
            "These anchors are those that the RPN was trained with; the input size is what is fitted to your objects."
        )
        why = f"{objects} {kept} {_covered(covered)}"
        return {
            "MODEL.ANCHOR_GENERATOR.SIZES": Choice(sizes, why),
            "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": Choice(aspect_ratios, shapes),
        }
    usual = detector.keys["MODEL.ANCHOR_GENERATOR.SIZES"][0][0] / detector.strides[0]
    anchors = choose_anchors(size.boxes, detector.strides, usual)
    levels = ", ".join(map(str, detector.strides))
    why = f"{objects} One list for each level of the FPN (strides {levels}). {_covered(anchors.covered)}"
    return {
        "MODEL.ANCHOR_GENERATOR.SIZES": Choice(anchors.sizes, why),
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": Choice([anchors.aspect_ratios], shapes),
    }


def _covered(fraction: float) -> str:
    return f"{fraction:.0%} of the objects have an IoU of at least {COVERED} with an anchor (centers aligned)."


def _keypoints(survey: Survey, sets: Sequence[DataSet]) -> Choices:
    if not survey.most_have_keypoints:
        return {}
    names, flips = survey.keypoints, flipped_keypoints(survey)
    what = f"{survey.with_keypoints} of {len(survey.box_sizes)} objects have keypoints ({', '.join(names)})."
    choices = {
        "MODEL.KEYPOINT_ON": Choice(True, what),
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": Choice(len(names)),
        "TEST.KEYPOINT_OKS_SIGMAS": Choice(
            [_SIGMA] * len(names),
            "How precisely each keypoint can be annotated, relative to the object size; COCO's are 0.025 to 0.107.",
        ),
    }
    if flips is not None:
        for data in sets:
            key = f"DATASETS.REGISTER.{data.name}.KEYPOINT_FLIP_MAP"
            choices[key] = Choice(
                [list(pair) for pair in flips], "Keypoints that swap in a mirrored image, inferred from their names."
            )
    return choices


def flipped_keypoints(survey: Survey) -> list[tuple[str, str]] | None:
    """Pairs of keypoints that a mirrored image swaps; None if their names do not say it."""
    pairs, alone = mirrored_pairs(survey.keypoints)
    return pairs if pairs and not alone else None


def _input(size: InputSize, survey: Survey) -> Choices:
    widths, heights = np.median(survey.image_sizes, axis=0)
    images = f"Images have {widths:.0f} x {heights:.0f} pixels (median width and height)"
    smallest = float(np.quantile(size.sizes, 0.1))
    objects = f"at this size nine in ten objects have a size of at least {smallest:.0f} pixels"
    if size.test > size.own:
        why = f"{images} and are enlarged because of small objects: {objects}."
    else:
        why = f"{images}; {objects}. A larger input is better for small objects, but slower."
    several = (
        "One of these is drawn at random for each image, which makes the detector robust to scale."
        if len(size.train) > 1
        else why
    )
    if survey.most_have_keypoints and flipped_keypoints(survey) is None:
        flip = Choice("none", "Flipping may swap keypoints, and their names do not show which: see docs/data.md.")
    else:
        flip = Choice("horizontal", "Set it to none if a mirrored object is another class, as with letters or arrows.")
    return {
        "INPUT.MIN_SIZE_TRAIN": Choice(size.train, several),
        "INPUT.MAX_SIZE_TRAIN": Choice(size.longest),
        "INPUT.MIN_SIZE_TEST": Choice(size.test, why),
        "INPUT.MAX_SIZE_TEST": Choice(size.longest),
        "INPUT.RANDOM_FLIP": flip,
    }


def _sampling(survey: Survey, machine: Machine) -> Choices:
    sampler = choose_sampler(survey)
    choices = {"DATALOADER.SAMPLER_TRAIN": Choice(sampler.name, sampler.why)}
    if sampler.threshold is not None:
        choices["DATALOADER.REPEAT_THRESHOLD"] = Choice(sampler.threshold)
    workers = f"Processes that load images; this machine has {machine.cores} cores."
    return choices | {"DATALOADER.NUM_WORKERS": Choice(machine.workers, workers)}


def _batch(detector: Detector, machine: Machine) -> Choices:
    return {
        "SOLVER.IMS_PER_BATCH": Choice(detector.batch_size(machine), detector.why_batch(machine)),
        "SOLVER.BASE_LR": Choice(detector.learning_rate(machine), detector.why_learning_rate()),
    }


def _schedule(schedule: Schedule, survey: Survey, detector: Detector) -> Choices:
    images = survey.stats.num_images
    halved = "Half as many as from ImageNet weights, because the whole detector is already trained. "
    epochs = (
        f"{count_of(round(schedule.epochs), 'epoch')} over the {count_of(images, 'image')} with objects. "
        f"{halved if detector.finetunes else ''}Small datasets need more epochs than large ones (docs/init.md). If you "
        "change it, adapt STEPS and TEST.EVAL_PERIOD."
    )
    choices = {"SOLVER.MAX_ITER": Choice(schedule.iterations, epochs)}
    if "MultiStep" in detector.keys.get("SOLVER.LR_SCHEDULER_NAME", "MultiStep"):
        drops = " and ".join(f"{step / schedule.iterations:.0%}" for step in schedule.steps)
        choices["SOLVER.STEPS"] = Choice(
            schedule.steps, f"The learning rate is divided by 10 after {drops} of the iterations."
        )
    warm_up = schedule.warm_up / schedule.iterations
    rises = f"The learning rate rises to BASE_LR over the first {warm_up:.1%} of the iterations."
    every = schedule.epochs / schedule.evaluations
    return choices | {
        "SOLVER.WARMUP_ITERS": Choice(schedule.warm_up, rises),
        "SOLVER.CHECKPOINT_PERIOD": Choice(
            schedule.period, "Same as TEST.EVAL_PERIOD, so that each evaluation has a checkpoint."
        ),
        "TEST.EVAL_PERIOD": Choice(
            schedule.period,
            f"{count_of(schedule.evaluations, 'evaluation')} during training, one every {every:.1f} epochs.",
        ),
    }


def _evaluation(survey: Survey, val: Survey) -> Choices:
    buckets, detections = choose_buckets(survey, val), choose_detections(survey)
    choices = {
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": Choice(detections.threshold, detections.why),
        "TEST.DETECTIONS_PER_IMAGE": Choice(
            detections.per_image, f"The training images have up to {count_of(detections.most, 'object')}."
        ),
        "TEST.BUCKETS.BY": Choice(buckets.by, buckets.why),
    }
    if buckets.groups:
        choices["TEST.BUCKETS.EQUAL_GROUPS"] = Choice(buckets.groups)
    elif buckets.edges is not None:
        choices["TEST.BUCKETS.EDGES"] = Choice(buckets.edges, "Upper edges of rare and common.")
    return choices
