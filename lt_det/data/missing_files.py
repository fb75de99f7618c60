"""What to do where the files of a registered dataset are missing."""

from __future__ import annotations

from pathlib import Path

from detectron2.data import MetadataCatalog

from lt_det.data.registration import BUILTIN

# The lt-det commands that make or download datasets, by the prefix of their names.
_SOURCES = {
    "mini_lvis": "mini-lvis",
    "lvis_v1_": "download lvis",
    "lvis_v0.5_": "download lvis --version v0.5",
    "coco_2017_": "download coco",
}
_OF_DETECTRON2 = ("coco_", "keypoints_coco_", "lvis_", "cityscapes_", "voc_", "ade20k_")


def is_in_datasets_folder(name: str) -> bool:
    """Whether Detectron2 looks for a dataset under DETECTRON2_DATASETS: its own, and mini_lvis."""
    by_lt_det = MetadataCatalog.get(name).get("annotation_format") is not None
    return name in BUILTIN or (name.startswith(_OF_DETECTRON2) and not by_lt_det)


def advice_for_missing_files(name: str) -> str:
    """A clause without a full stop."""
    if not is_in_datasets_folder(name):
        return (
            "correct the path where the dataset is registered (DATASETS.REGISTER in a config); a relative path starts "
            f"from the working directory, {Path.cwd()}"
        )
    commands = (command for prefix, command in _SOURCES.items() if name.startswith(prefix))
    hint = next((f"run `lt-det {command}`" for command in commands), "put it there")
    return f"{hint}, or set DETECTRON2_DATASETS to the folder that holds your datasets"
