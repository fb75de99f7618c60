"""Checks of a config against the data on this machine."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.data import register_dataset, training_stats
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


@pytest.mark.parametrize("name", ["gone_of_mine", "coco_of_mine"])
def test_a_missing_file_of_ones_own_dataset(name, tmp_path):
    """DETECTRON2_DATASETS would not change where it is looked for."""
    register_dataset(name, tmp_path / "gone.json", tmp_path)
    try:
        with pytest.raises(LtDetError, match=r"gone\.json .*DATASETS\.REGISTER") as error:
            check_datasets([name])
        assert "DETECTRON2_DATASETS" not in str(error.value)
        assert str(Path.cwd()) in str(error.value)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("name", ["voc_2007_train", "cityscapes_fine_instance_seg_train"])
def test_missing_files_of_a_function_of_detectron2(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LtDetError, match=f"'{name}' fails .*put it there, or set DETECTRON2_DATASETS"):
        training_stats([name])
