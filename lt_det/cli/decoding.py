"""`lt-det stats --images DIR --decode`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lt_det.cli.console import console
from lt_det.errors import LtDetError
from lt_det.io.coco_json import image_file_name
from lt_det.io.image_decoding import ImageFile, decoding_problems
from lt_det.io.progress import progress_bar


def check_decoding(json_file: Path, image_root: Path, images: Sequence[dict[str, Any]]) -> None:
    """Decode every image in as many processes as there are cores, and print those that cannot be read.

    Args:
        json_file: the annotation file, for messages.
        image_root: folder of the images.
        images: of the annotation file, with ``id``, ``width`` and ``height``.

    Raises:
        LtDetError: at least one image cannot be read.
    """
    files = [
        ImageFile(
            image["id"], str(Path(image_root, image_file_name(image, json_file))), image["width"], image["height"]
        )
        for image in images
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bad = []
    with progress_bar("Decoding images", len(files)) as advance:
        for image, problem in decoding_problems(files, cores, advance):
            bad.append(f"image {image.id}: {image.path}: {problem}")
    for line in bad:
        console.print(line, soft_wrap=True, markup=False)
    if bad:
        raise LtDetError(
            f"{json_file}: {len(bad)} of {len(files)} images cannot be read, the first is {bad[0]}; download them "
            "again, or remove them from the annotation file."
        )
