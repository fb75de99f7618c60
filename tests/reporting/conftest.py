import pytest

from tests.helpers.evaluations import evaluation, write_run


@pytest.fixture
def run(tmp_path):
    """An OUTPUT_DIR whose evaluation has every part."""
    return write_run(tmp_path / "softmax", evaluation())


@pytest.fixture
def other_run(tmp_path):
    """The same test set; every class is better by 2 points, plus noise."""
    return write_run(tmp_path / "seesaw", evaluation(seed=1, better=2.0))
