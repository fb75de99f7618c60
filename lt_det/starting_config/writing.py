"""Write a starting config for a data set, and a validation split where there is no such set."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.datasets.split_files import write_split
from lt_det.errors import LtDetError
from lt_det.io.atomic import write_atomically, writing_to
from lt_det.starting_config.choices import DataSet, choose
from lt_det.starting_config.detector import Detector, choose_detector
from lt_det.starting_config.document import render
from lt_det.starting_config.findings import doubts_of, summary_of
from lt_det.starting_config.image_folders import ImageFolder, find_image_folder
from lt_det.starting_config.machine import this_machine
from lt_det.starting_config.reasons import SECTIONS
from lt_det.starting_config.survey import Survey, survey_of_file
from lt_det.statistics.class_stats import ClassStats

VAL_FRACTION = 0.2  # of the images, where there is no validation set


@dataclass(frozen=True)
class StartingConfig:
    """What was written, and what to know about it.

    Attributes:
        file: the config.
        parts: annotation files of the split; empty if a validation set was given.
        summary: sentences about the data and the choices.
        doubts: sentences about what may need a look, or is missing.
        commands: what to run next.
    """

    file: Path
    parts: list[Path]
    summary: list[str]
    doubts: list[str]
    commands: list[str]


def write_config(
    train_json: Path,
    out: Path,
    *,
    val_json: Path | None = None,
    test_json: Path | None = None,
    images: Path | None = None,
    val_images: Path | None = None,
    test_images: Path | None = None,
    weights: Path | None = None,
    small: bool = False,
    group_key: str | None = None,
    group_pattern: str | None = None,
    force: bool = False,
) -> StartingConfig:
    """Look at a data set, and write a config that trains a detector on it, with a reason for each value.

    Args:
        train_json: a COCO- or LVIS-format json.
        out: the yaml file to write. Without `val_json`, the parts of the split are written beside it.
        val_json: images to evaluate on; None: a part of the training images is set aside.
        test_json: images for the final result. The config registers them, but does not evaluate on them.
        images, val_images, test_images: folders of the images; None: they are looked for near the annotation files.
        weights: a Detectron2 detector to start from; None: Detectron2's for COCO where they can be had, else a small
            detector with ImageNet weights.
        small: choose the small detector in any case.
        group_key, group_pattern: images that stay in one part of the split, see `write_split`.
        force: replace existing files.

    Raises:
        LtDetError: annotations or weights cannot be used, the sets have different classes, a folder has none of the
            images, options contradict each other, or a file exists. Then nothing is written.
    """
    train_json, out, val_json = Path(train_json), Path(out), val_json and Path(val_json)
    grouped = bool(group_key or group_pattern)
    _check_options(train_json, val_json, val_images, test_json, test_images, weights, small, grouped)
    _check_out(out, force)
    whole = _checked_survey(train_json)
    train_folder = find_image_folder(train_json, whole.files, images and Path(images), "--images")
    for path in (train_json, out, train_folder.path):
        _check_path(path)
    detector = choose_detector(weights and Path(weights), small, whole.most_have_masks, whole.most_have_keypoints)
    name = re.sub(r"\W+", "_", out.stem, flags=re.ASCII).strip("_") or "my"
    test: DataSet | None = None
    if test_json is not None:
        test_survey, test_folder = _other_set(Path(test_json), whole, train_folder, test_images, "--test-images")
        test = _data_set(f"{name}_test", Path(test_json), test_folder, test_survey)
    parts: list[Path] = []
    if val_json is None:
        names = {f"{out.stem}_{role}": part for role, part in (("train", 1 - VAL_FRACTION), ("val", VAL_FRACTION))}
        written = write_split(
            train_json, out.parent, names, group_key=group_key, group_pattern=group_pattern, force=force
        )
        parts = [part.file for part in written]
        train_json, val_json = parts
        train_survey, val_survey = map(survey_of_file, parts)
        val_folder = train_folder
        wanted = train_survey.most_have_masks, train_survey.most_have_keypoints
        if wanted != (whole.most_have_masks, whole.most_have_keypoints):  # about half of the objects have them
            detector = choose_detector(weights and Path(weights), small, *wanted)
    else:
        train_survey = whole
        val_survey, val_folder = _other_set(val_json, whole, train_folder, val_images, "--val-images")
    train = _data_set(f"{name}_train", train_json, train_folder, train_survey)
    val = _data_set(f"{name}_val", val_json, val_folder, val_survey)
    output_dir = f"output/{out.stem}"
    machine = this_machine()
    chosen = choose(train, val, detector, machine, output_dir, test)
    text = render(_title(out, train, detector), chosen.choices, SECTIONS)
    with writing_to(out.parent, "The config"):
        write_atomically(out, text)
    return StartingConfig(
        file=out,
        parts=parts,
        summary=summary_of(train, val, detector, chosen, machine),
        doubts=doubts_of(train, val, (train_folder, val_folder), detector, chosen, machine),
        commands=[
            f"lt-det doctor --config {quote(str(out))}",
            f"lt-det train --config {quote(str(out))}",
            f"lt-det report {quote(output_dir)}",
            f"lt-det bakeoff {quote(output_dir)}",
        ],
    )


def _other_set(
    json_file: Path, train: Survey, train_folder: ImageFolder, images: Path | None, option: str
) -> tuple[Survey, ImageFolder]:
    """What the annotations of a validation or test set show, and the folder of its images.

    Args:
        json_file: its annotations.
        train, train_folder: of the training set.
        images: the folder that a user gives; None: look for it.
        option: by which it is given: --val-images.

    Raises:
        LtDetError: the annotations cannot be used, their classes differ from those of training, or the folder has none
            of the images.
    """
    survey = _checked_survey(json_file)
    train.stats.check_names(survey.stats.names, str(json_file))
    given = images and Path(images)
    shared = None if set(train.files) & set(survey.files) else train_folder  # train/1.jpg is not val/1.jpg
    folder = find_image_folder(json_file, survey.files, given, option, shared)
    if given is None and len(folder.missing) == len(survey.files):  # nowhere near the json
        folder = find_image_folder(json_file, survey.files, None, option, train_folder)
    for path in (json_file, folder.path):
        _check_path(path)
    return survey, folder


def _check_options(
    train_json: Path,
    val_json: Path | None,
    val_images: Path | None,
    test_json: Path | None,
    test_images: Path | None,
    weights: Path | None,
    small: bool,
    grouped: bool,
) -> None:
    """
    Args:
        grouped: whether images are to stay together in a split.
    """
    if val_json is None and val_images is not None:
        raise LtDetError(f"--val-images {val_images} needs a validation set; add --val JSON, or leave it out.")
    if test_json is None and test_images is not None:
        raise LtDetError(f"--test-images {test_images} needs a test set; add --test JSON, or leave it out.")
    if val_json is not None and grouped:
        raise LtDetError(
            "--group-by and --group-pattern are for a split, but --val gives a validation set; leave them out."
        )
    if small and weights is not None:
        raise LtDetError(f"--small and --weights {weights} choose different detectors; give one of them.")
    if val_json is not None and val_json.exists() and train_json.exists() and val_json.samefile(train_json):
        raise LtDetError(f"--val {val_json} is the training set; give another file, or leave --val out to split it.")
    if test_json is not None and Path(test_json).exists():
        for other, option in ((train_json, "training"), (val_json, "validation")):
            if other is not None and other.exists() and other.samefile(test_json):
                raise LtDetError(f"--test {test_json} is the {option} set; give another file, or leave --test out.")


def _check_out(out: Path, force: bool) -> None:
    if out.suffix not in (".yaml", ".yml"):
        raise LtDetError(f"--out {out} is not a yaml file; give a name such as my_config.yaml.")
    if out.exists() and not (force and out.is_file()):
        advice = "choose another name, or add --force to replace it" if out.is_file() else "choose another name"
        raise LtDetError(f"--out {out} exists already; {advice}.")


def _checked_survey(json_file: Path) -> Survey:
    """
    Raises:
        LtDetError: the annotations cannot be used, or no object could be trained or evaluated.
    """
    ClassStats.from_json(json_file)
    survey = survey_of_file(json_file)
    if not len(survey.box_sizes):
        raise LtDetError(f"{json_file} has no objects except crowd regions or boxes without area; annotate some.")
    return survey


def _check_path(path: Path) -> None:
    """
    Raises:
        LtDetError: a path would be read as another one, because it looks like a variable.
    """
    path = path.absolute()
    if os.path.expandvars(path) != str(path):
        raise LtDetError(
            f"The path {path} contains the name of an environment variable, which would be expanded in a config; "
            "rename it."
        )


def _data_set(name: str, json_file: Path, folder: ImageFolder, survey: Survey) -> DataSet:
    json_file = json_file.absolute()
    while name in DatasetCatalog and MetadataCatalog.get(name).get("json_file") != str(json_file):
        name = f"my_{name}"  # Detectron2's own sets, and mini_lvis
    return DataSet(name, json_file, folder.path, survey)


def _title(out: Path, train: DataSet, detector: Detector) -> str:
    return (
        f"{detector.name} for the data in {train.json_file.name}, written by `lt-det init`. Comments explain why "
        "values were chosen; change them as you see fit. docs/init.md has the rules.\n"
        f"Check: lt-det doctor --config {out}\nTrain: lt-det train --config {out}"
    )
