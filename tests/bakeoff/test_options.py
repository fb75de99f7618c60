from pathlib import Path

import pytest

from lt_det.bakeoff.options import BakeoffOptions
from lt_det.errors import LtDetError


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"seeds": 0}, "--seeds is 0"),
        ({"folds": 1}, "--folds is 1"),
        ({"steps": 2.5}, "--steps is 2.5"),
        ({"steps": True}, "--steps is True"),
        ({"num_processes": -1}, "--num-processes is -1"),
        ({"candidates": "fast"}, "--candidates is fast"),
        ({"choose_on": "val"}, "--choose-on is val"),
        ({"write": " "}, "--write"),
        ({"output": Path(__file__)}, "--output"),
    ],
)
def test_bad_values(values, key):
    with pytest.raises(LtDetError, match=key) as caught:
        BakeoffOptions(**values)
    assert "\n" not in str(caught.value)


def test_good_values(tmp_path):
    file = tmp_path / "mine.yaml"
    file.touch()
    assert BakeoffOptions(candidates=str(file)).folder("out") == Path("out/bakeoff")
    assert BakeoffOptions(output=tmp_path / "new").folder("out") == tmp_path / "new"
