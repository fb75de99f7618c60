"""The records of a data loader."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
from detectron2.data import DatasetCatalog
from lt_det.data.cache.records import load_records
from lt_det.errors import LtDetError

DatasetCatalog.register("crowds", lambda: [{"image_id": 1, "annotations": [{"iscrowd": 1, "category_id": 0}]}])
try:
    print(load_records("crowds"))
except LtDetError as error:
    print(error)
"""


@pytest.mark.parametrize("optimize", ["", "1"])
def test_a_set_without_images_to_train_on(optimize):
    """Also where Python leaves out assertions, by which Detectron2 says it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONOPTIMIZE": optimize},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("No image of crowds has annotations to train on"), done.stderr[-500:]
