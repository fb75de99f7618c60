"""docs/config.md has every key that lt_det adds to a config once, with its default, what it does and its values."""

import re
import runpy
import typing

import pytest
from detectron2.config import get_cfg

import lt_det
from lt_det.losses import LOSSES
from lt_det.losses.class_weights import WEIGHTS
from lt_det.meta.methods import META_METHODS
from lt_det.modeling.backbones.timm_fpn import NORMS
from lt_det.modeling.post_hoc_adjustment import METHODS
from tests.helpers import REPOSITORY
from tests.helpers.detectron2_keys import leaves

# Keys with a few values, and the values that the code knows.
VALUES = {
    "MODEL.LONG_TAIL.CLASSIFIER": ("auto", "linear", "cosine", "scaled"),
    "MODEL.LONG_TAIL.REWEIGHTING.WEIGHTS": WEIGHTS,
    "MODEL.LONG_TAIL.SECOND_STAGE.METHOD": ("crt", "lws", "meta"),
    "MODEL.LONG_TAIL.SECOND_STAGE.META.METHOD": META_METHODS,
    "MODEL.LONG_TAIL.CALIBRATION.METHOD": METHODS,
    "MODEL.TIMM.NORM": NORMS,
    "SOLVER.BEST_CHECKPOINT.MODE": ("auto", "max", "min"),
    "SOLVER.AMP.PRECISION": ("float16", "bfloat16"),
    "TEST.BUCKETS.BY": ("images", "instances"),
}


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(REPOSITORY / "docs" / "config.py"))


@pytest.fixture(scope="module")
def stock():
    return set(leaves(get_cfg()))


@pytest.fixture(scope="module")
def cfg():
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    return cfg


@pytest.fixture(scope="module")
def tables(script, cfg):
    """Rows of the page, of lt_det's keys and of Detectron2's: a key by its full name and the cells behind it."""
    parts = script["PAGE"].read_text().split("\n## Detectron2's keys\n")
    found = [re.findall(r"^\| \[`([\w.]+)`\]\([^)]+\) \| (.*) \|$", part, re.MULTILINE) for part in parts]
    return [[(full_name(key, cfg), cells.split(" | ")) for key, cells in rows] for rows in found]


def full_name(key, cfg):
    """The page writes hyper-parameters as LDAM.SCALE."""
    return key if key.partition(".")[0] in cfg else f"MODEL.LONG_TAIL.LOSS.{key}"


def test_the_page_is_that_of_the_code(script):
    assert script["PAGE"].read_text() == script["page"](), "run python docs/config.py"


def test_each_key_of_lt_det_is_there_once(tables, stock, cfg):
    added = set(leaves(cfg)) - stock | {"DATASETS.REGISTER"}
    assert sorted(key for key, _ in tables[0]) == sorted(added)


def test_defaults_are_those_of_the_config(tables, cfg):
    for key, (default, _) in tables[0]:
        value = cfg
        for name in key.split("."):
            value = value[name]
        shown = '""' if value == "" else "{}" if key == "DATASETS.REGISTER" else str(value)
        assert default == f"`{shown}`", key


def test_each_key_has_sentences(tables):
    for key, (_, meaning) in tables[0]:
        assert re.fullmatch(r"[A-Zβ`].*[.]", meaning), key
        assert "see `" not in meaning.lower(), key  # a reference into the code


def test_the_values_of_a_key_are_all_named(tables):
    meanings = {key: meaning for key, (_, meaning) in tables[0]}
    values = dict(VALUES)
    for name, loss in LOSSES.items():
        for argument, hint in typing.get_type_hints(loss.__init__).items():
            if typing.get_origin(hint) is typing.Literal:
                values[f"MODEL.LONG_TAIL.LOSS.{name.upper()}.{argument.upper()}"] = typing.get_args(hint)
    assert len(values) > len(VALUES)
    for key, names in values.items():
        assert [name for name in names if f"`{name}`" not in meanings[key]] == [], key


def test_references_in_docstrings_are_replaced(tables):
    """EQLv2Loss refers to `eqlv2_weights`, and SoftmaxEQLLoss to EQLLoss."""
    meanings = {key.removeprefix("MODEL.LONG_TAIL.LOSS."): meaning for key, (_, meaning) in tables[0]}
    assert meanings["EQLV2.MU"].startswith("Ratio")
    assert meanings["SEQL.FREQUENCY_THRESHOLD"] == meanings["EQL.FREQUENCY_THRESHOLD"]


def test_detectron2_has_the_keys_of_the_last_table(tables, stock):
    assert tables[1]
    assert {key for key, _ in tables[1]} <= stock


def test_a_key_without_a_page_is_an_error(script):
    with pytest.raises(KeyError, match=r"SOLVER\.NEW"):
        script["place_of"]("SOLVER.NEW")


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_page_of_a_loss_has_the_defaults_of_the_code(name):
    page = (REPOSITORY / "docs" / "losses" / f"{name}.md").read_text()
    rows = dict(re.findall(rf"^\| `{name.upper()}\.(\w+)` \| (.*?) \|", page, re.MULTILINE))
    assert rows == {key.upper(): str(value) for key, value in LOSSES[name].hyperparameters().items()}
