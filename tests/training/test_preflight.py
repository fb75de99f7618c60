"""Checks of a config against the data on this machine."""

import pytest
from detectron2.data import MetadataCatalog

from lt_det.errors import LtDetError
from lt_det.training.preflight import check_datasets


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("lvis_v1_train", "lt-det download lvis"),
        ("lvis_v0.5_val", "lt-det download lvis --version v0.5"),
        ("coco_2017_val", "lt-det download coco"),
        ("cityscapes_fine_instance_seg_val", "put it there"),
    ],
)
def test_missing_dataset_and_where_to_get_it(name, command, monkeypatch):
    monkeypatch.setitem(vars(MetadataCatalog.get(name)), "json_file", "nowhere/a.json")
    with pytest.raises(LtDetError, match=rf"nowhere/a\.json .*'{name}'.*{command}`?, or set DETECTRON2_DATASETS"):
        check_datasets([name])
