"""The datasets of a plan, in the working folder: each is a DETECTRON2_DATASETS folder of its own with a mini_lvis.

An entry of a plan's `datasets` has the options of `lt-det mini-lvis` (`num_classes`, `imbalance`, `ratio`, ...), or
`split_of`: the training images of another dataset, of which four fifths are trained on and the rest is evaluated on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = "mini_lvis"
_HELD_OUT = 0.2  # fraction of the images


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


def _lt_det(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "lt_det.cli", *words], check=True, stdout=subprocess.DEVNULL)
