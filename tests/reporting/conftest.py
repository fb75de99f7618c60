import pytest

from tests.helpers.evaluations import evaluation, write_run


@pytest.fixture
def run(tmp_path):
    """An OUTPUT_DIR whose evaluation has every part."""
    return write_run(tmp_path / "softmax", evaluation())


@pytest.fixture
def other_run(tmp_path):
    """The same judged set, every class better by 2 points but for what differs at random."""
    return write_run(tmp_path / "seesaw", evaluation(seed=1, better=2.0))
