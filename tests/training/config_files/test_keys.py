"""Keys that there are not: the file or the command line, the key, and what was meant."""

import pytest

from lt_det.errors import LtDetError
from lt_det.training import load_config
from tests.helpers import REPOSITORY

MINI = REPOSITORY / "configs" / "mini_lvis_softmax.yaml"

UNKNOWN = [
    ("SOLVR.BASE_LR", "SOLVR", "SOLVER"),
    ("SOLVER.BASE_RL", "SOLVER.BASE_RL", "SOLVER.BASE_LR?"),
    ("solver.base_lr", "solver", "SOLVER"),
    ("MODEL.LONGTAIL.LOSS.NAME", "MODEL.LONGTAIL", "MODEL.LONG_TAIL"),
    ("LOSS.NAME", "LOSS", "MODEL.LONG_TAIL.LOSS"),
    ("BASE_LR", "BASE_LR", "SOLVER.BASE_LR?"),
    ("SOLVER.NUM_CLASSES", "SOLVER.NUM_CLASSES", "MODEL.ROI_HEADS.NUM_CLASSES"),
    ("MODEL.LONG_TAIL.LOSS.EQLV3.MU", "MODEL.LONG_TAIL.LOSS.EQLV3", "EQLV2"),
    ("MODEL.LONG_TAIL.LOSS.EQL.LAMBDA", "MODEL.LONG_TAIL.LOSS.EQL.LAMBDA", "FREQUENCY_THRESHOLD"),
    ("MODEL.LONG_TAIL.LOSS.SEESAW.EPS", "MODEL.LONG_TAIL.LOSS.SEESAW.EPS", "SEESAW.EPSILON?"),
    ("MODEL.LONG_TAIL.LOSS.MINE.FACTOR", "MODEL.LONG_TAIL.LOSS.MINE", "--import MODULE"),
    ("ZZZ.FACTOR", "ZZZ", "docs/config.md"),
]


def refusal(*arguments) -> str:
    with pytest.raises(LtDetError) as error:
        load_config(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("key", "named", "meant"), UNKNOWN)
def test_unknown(tmp_path, key, named, meant):
    file = tmp_path / "a.yaml"
    *above, last = key.split(".")
    file.write_text(f"_BASE_: {MINI}\n" + "".join(f"{name}: {{" for name in above) + f"{last}: 1.0" + "}" * len(above))
    message = refusal(str(file))
    assert message.startswith(f"{file}: ")
    assert f" {named};" in message
    assert meant in message
    message = refusal(str(MINI), [key, "1.0"])
    assert message.startswith("Override on the command line: ")
    assert f" {key};" in message
    assert meant in message


def test_keys_in_a_base_are_named_with_it(tmp_path):
    (tmp_path / "base.yaml").write_text("SOLVER: {BASE_RL: 0.1}\n")
    (tmp_path / "a.yaml").write_text("_BASE_: base.yaml\n")
    assert refusal(str(tmp_path / "a.yaml")).startswith(f"{tmp_path}/base.yaml: ")


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("MODEL.LONG_TAIL.LOSS.NAME: eql", "MODEL: {LONG_TAIL: {LOSS: {NAME: ...}}}"),
        ("BASE: a.yaml", "_BASE_"),
        ("_base_: a.yaml", "_BASE_"),
        ("SOLVER: {_BASE_: a.yaml}", "_BASE_"),
    ],
)
def test_keys_in_the_wrong_form(tmp_path, content, advice):
    file = tmp_path / "a.yaml"
    file.write_text(content)
    assert advice in refusal(str(file)).partition(";")[2]


def test_configs_of_version_1(tmp_path):
    """Detectron2 converts them; keys that it has renamed are no mistakes."""
    file = tmp_path / "a.yaml"
    file.write_text("MODEL: {WEIGHT: a.pth}\n")
    assert load_config(str(file)).MODEL.WEIGHTS == "a.pth"
    file.write_text("MODEL: {WEIGHT: a.pth}\nSOLVER: {BASE_LR: fast}\n")
    assert "SOLVER.BASE_LR is 'fast'" in refusal(str(file))
    file.write_text("VERSION: 1\nMODEL: {TYPO: a.pth}\n")
    assert "there is no key MODEL.TYPO" in refusal(str(file))
    for version in ("0", "3", "true"):
        file.write_text(f"VERSION: {version}\n")
        assert "write VERSION: 2" in refusal(str(file))


def test_a_key_that_is_gone_is_only_a_warning(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(f"_BASE_: {MINI}\nMODEL: {{LONG_TAIL: {{LOSS: {{LOGIT_ADJUSTMENT: {{POST_HOC: true}}}}}}}}\n")
    load_config(str(file), ["MODEL.LONG_TAIL.LOSS.LOGIT_ADJUSTMENT.POST_HOC", "True"])
