"""`_BASE_`: joined as Detectron2 joins it, but never downloaded, and what cannot be one is said."""

import logging
from pathlib import Path

import detectron2
import pytest
from detectron2.config import get_cfg

from lt_det.errors import LtDetError
from lt_det.training import load_config
from lt_det.training.config_files.reading import read_config
from tests.helpers import REPOSITORY
from tests.helpers.hostile import hostile_config

MINI = REPOSITORY / "configs" / "mini_lvis_softmax.yaml"


def refusal(file, content=None, read=read_config) -> str:
    if content is not None:
        file.write_text(content)
    with pytest.raises(LtDetError) as error:
        read(str(file))
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_shipped_configs_are_joined_as_detectron2_does():
    files = sorted((REPOSITORY / "configs").glob("**/*.yaml"))
    assert len(files) > 30
    for file in files:
        assert read_config(file) == get_cfg().load_yaml_with_base(str(file)), file


def test_several_bases(tmp_path):
    (tmp_path / "a.yaml").write_text("M: {A: 1, B: 1, C: 1}\nL: [1]\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\nM: {B: 2}\n")
    (tmp_path / "c.yaml").write_text(f"_BASE_: [b.yaml, {tmp_path}/a.yaml]\nM: {{C: 3}}\nL: [2]\n")
    assert read_config(tmp_path / "c.yaml") == {"M": {"A": 1, "B": 1, "C": 3}, "L": [2]}
    assert get_cfg().load_yaml_with_base(str(tmp_path / "c.yaml")) == read_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ("http://127.0.0.1:9/a.yaml", "not downloaded"),
        ("https://127.0.0.1:9/a.yaml", "not downloaded"),
        ("s3://bucket/a.yaml", "not downloaded"),
        ("detectron2://a.yaml", "not downloaded"),
        ("file:///etc/passwd", "not downloaded"),
        ("missing.yaml", "missing.yaml does not exist"),
        ("lt_det://lazy/mini_lvis_eql", "LazyConfig"),
        (".", "is a folder"),
        ("3", "_BASE_ is 3"),
        ("", "_BASE_ is None"),
        ("[a.yaml, 3]", "does not exist"),
        ("[3]", "_BASE_ is 3"),
        ("{A: 1}", "_BASE_ is {'A': 1}"),
        ("self.yaml", "leads back to"),
        ("other.yaml", "leads back to"),
    ],
)
def test_what_cannot_be_a_base(tmp_path, base, complaint):
    (tmp_path / "other.yaml").write_text("_BASE_: self.yaml\n")
    (tmp_path / "self.yaml").write_text(f"_BASE_: {base}\n")
    with pytest.raises(LtDetError, match="_BASE_") as error:
        read_config(tmp_path / "self.yaml")
    assert complaint in str(error.value)


def test_bases_that_multiply(tmp_path):
    """Each of 40 files names the next one twice: 2**40 readings, unless each is read once."""
    for number in range(40):
        (tmp_path / f"{number}.yaml").write_text(f"_BASE_: [{number + 1}.yaml, {number + 1}.yaml]\nA{number}: 1\n")
    (tmp_path / "40.yaml").write_text("A: 1\n")
    assert len(read_config(tmp_path / "0.yaml")) == 41


def test_a_value_with_keys_of_its_own(tmp_path):
    (tmp_path / "a.yaml").write_text("M: {A: 1}\n")
    assert "M.A has keys" in refusal(tmp_path / "b.yaml", "_BASE_: a.yaml\nM: {A: {B: 1}}\n")


def test_code_in_a_config_or_its_base_runs_only_where_that_is_allowed(tmp_path, caplog):
    created = tmp_path / "created"
    hostile = hostile_config(tmp_path / "a.yaml", created, MINI)
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\nSEED: 3\n")
    assert "OUTPUT_DIR has the tag !!python/object/apply:os.system" in refusal(hostile, read=load_config)
    with pytest.raises(LtDetError, match="--allow-unsafe-config"):
        load_config(str(tmp_path / "b.yaml"))
    assert not created.exists()
    with caplog.at_level(logging.WARNING), pytest.raises(LtDetError, match=r"OUTPUT_DIR"):  # 0 is no folder
        load_config(str(tmp_path / "b.yaml"), allow_unsafe=True)
    assert created.exists()
    (warning,) = [record.getMessage() for record in caplog.records if "unsafe" in record.getMessage()]
    assert str(hostile) in warning
    assert "OUTPUT_DIR (line 2)" in warning


def test_detectron2s_expressions_load_with_the_option(tmp_path):
    sizes = '!!python/object/apply:eval ["[[x, x * 2**(1.0/3)] for x in [20, 32, 48]]"]'
    features, file = "RPN: {IN_FEATURES: [p3, p4, p5]}", tmp_path / "a.yaml"
    file.write_text(f"_BASE_: {MINI}\nMODEL: {{{features}, ANCHOR_GENERATOR: {{SIZES: {sizes}}}}}\n")
    message = refusal(file, read=load_config)
    expected = [[x, x * 2 ** (1.0 / 3)] for x in [20, 32, 48]]
    assert f"write SIZES: {expected}" in message
    assert expected == load_config(str(file), allow_unsafe=True).MODEL.ANCHOR_GENERATOR.SIZES
    file.write_text(f"_BASE_: {MINI}\nMODEL: {{{features}, ANCHOR_GENERATOR: {{SIZES: {expected}}}}}\n")
    assert expected == load_config(str(file)).MODEL.ANCHOR_GENERATOR.SIZES


def test_a_config_of_detectron2_with_code():
    file = Path(detectron2.__file__).parent / "model_zoo" / "configs" / "COCO-Detection" / "retinanet_R_50_FPN_1x.yaml"
    if not file.is_file():
        pytest.skip("this Detectron2 is without its configs")
    with pytest.raises(LtDetError, match=r"Base-RetinaNet\.yaml, line \d+: MODEL\.ANCHOR_GENERATOR\.SIZES"):
        load_config(str(file))
    assert load_config(str(file), allow_unsafe=True).MODEL.META_ARCHITECTURE == "RetinaNet"


def test_a_lazyconfig_is_not_opened_as_yaml(tmp_path):
    created = tmp_path / "created"
    (tmp_path / "a.py").write_text(f"open({str(created)!r}, 'w')\n")
    assert "a program" in refusal(tmp_path / "a.py", read=load_config)
    assert not created.exists()
