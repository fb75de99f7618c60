"""The datasets of a plan, in the working folder: each is a DETECTRON2_DATASETS folder of its own with a mini_lvis.

An entry of a plan's `datasets` has the options of `lt-det mini-lvis` (`num_classes`, `imbalance`, `ratio`, ...), or

- `split_of`: the training images of another dataset, of which four fifths are trained on and the rest is evaluated on;
- `thinned_from`: another dataset, where frequent classes are not annotated in a `fraction` of their training images.
  Such objects are background in training, as the objects of LVIS that nobody was asked to annotate.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_FOLDER = "mini_lvis"
_HELD_OUT = 0.2  # fraction of the images
_FREQUENT = 101  # images: the least that a frequent class has in LVIS


def make_dataset(work: Path, name: str, datasets: Mapping[str, Mapping[str, Any]]) -> Path:
    """Make a dataset, unless it is there; return its DETECTRON2_DATASETS folder.

    Args:
        work: the working folder.
        name: a key of `datasets`, or the default one, which has no options.
        datasets: of the plan.

    Raises:
        subprocess.CalledProcessError: it cannot be made.
    """
    options = dict(datasets.get(name, {}))
    folder = work / "datasets" / name
    made_with = folder / "options.json"
    if made_with.is_file() and json.loads(made_with.read_text()) == options:
        return folder
    if source := options.get("split_of"):
        _split(make_dataset(work, source, datasets) / _FOLDER, folder / _FOLDER)
    elif source := options.get("thinned_from"):
        _thin_out(make_dataset(work, source, datasets) / _FOLDER, folder / _FOLDER, options["fraction"])
    else:
        words = [str(word) for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]
        _lt_det("mini-lvis", str(folder / _FOLDER), *words)
    made_with.write_text(json.dumps(options))
    return folder


def _split(source: Path, out: Path) -> None:
    """Write a mini_lvis whose training and validation images are both training images of `source`."""
    _lt_det("split", str(source / "mini_lvis_train.json"), "--out", str(out), "--val", str(_HELD_OUT), "--force")
    for part in ("train", "val"):
        (out / f"{part}.json").replace(out / f"mini_lvis_{part}.json")
    images = out / "train"  # of both
    images.unlink(missing_ok=True)
    images.symlink_to((source / "train").resolve())


def _thin_out(source: Path, out: Path, fraction: float) -> None:
    """Write a mini_lvis whose frequent classes are not annotated in a fraction of their training images.

    The images are drawn at random. No class becomes less than frequent.
    """
    content = json.loads((source / "mini_lvis_train.json").read_text())
    images_of: dict[int, set[int]] = {}
    for annotation in content["annotations"]:
        images_of.setdefault(annotation["category_id"], set()).add(annotation["image_id"])
    generator = np.random.default_rng(0)
    removed: set[tuple[int, int]] = set()
    for category, images in sorted(images_of.items()):
        number = min(round(fraction * len(images)), max(0, len(images) - _FREQUENT))
        removed |= {(category, int(image)) for image in generator.permutation(sorted(images))[:number]}
    content["annotations"] = [
        annotation
        for annotation in content["annotations"]
        if (annotation["category_id"], annotation["image_id"]) not in removed
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "mini_lvis_train.json").write_text(json.dumps(content))
    for name in ("mini_lvis_val.json", "train", "val"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to((source / name).resolve())


def _lt_det(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "lt_det.cli", *words], check=True, stdout=subprocess.DEVNULL)
