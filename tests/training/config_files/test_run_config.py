"""The config.yaml in the folder of a training."""

import pytest
from detectron2.config import LazyConfig

from lt_det.training import load_lazy_config
from lt_det.training.config_files.key_paths import value_at
from lt_det.training.config_files.run_config import config_in


def test_the_objects_of_a_lazy_config_are_read_as_plain_values(tmp_path):
    LazyConfig.save(load_lazy_config("lazy/mini_lvis_eql"), str(tmp_path / "config.yaml"))
    assert "!!python/object" in (tmp_path / "config.yaml").read_text()
    content = config_in(tmp_path)
    assert value_at(content, "train.max_iter") == 800
    assert value_at(content, "model.roi_heads.num_classes") == 62


@pytest.mark.parametrize("tag", ["object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir"])
def test_no_code_runs(tmp_path, tag):
    (tmp_path / "config.yaml").write_text(f"key: !!python/{tag} [{tmp_path}/made]\nother: 1\n")
    assert config_in(tmp_path)["other"] == 1
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", ["[", "key: !unknown 1", "\0"])
def test_an_unreadable_file(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    assert config_in(tmp_path) is None
