"""`lt-det doctor` and a real training of two iterations agree on mutated configs."""

import pytest

from tests.helpers.mutations import doctor_refuses, mutations, training_refuses, write_mutated, write_tiny_set

MUTATIONS = mutations()
LONG = pytest.mark.long


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("mutations") / "data")


def sampled(every):
    """Every so many mutations run always, the others in `make test-long`."""
    return [
        pytest.param(*mutation, id=f"{mutation[0]}={mutation[1]}", marks=[LONG] if index % every else [])
        for index, mutation in enumerate(MUTATIONS)
    ]


def test_the_list():
    assert len(MUTATIONS) >= 220
    assert len({repr(mutation[:2]) for mutation in MUTATIONS}) == len(MUTATIONS)
    accepted = sum(mutation[2] for mutation in MUTATIONS)
    assert 50 <= accepted <= len(MUTATIONS) - 50


@pytest.mark.parametrize(("key", "value", "accepted"), sampled(9))
def test_the_verdict_of_doctor(data, key, value, accepted):
    refusal = doctor_refuses(write_mutated(data, "tiny", key, value))
    assert (not refusal) == accepted, refusal


@pytest.mark.parametrize(("key", "value", "accepted"), sampled(18))
def test_the_verdict_of_a_training(data, key, value, accepted):
    refusal = training_refuses(write_mutated(data, "tiny", key, value))
    assert (not refusal) == accepted, refusal
    assert not refusal or refusal.startswith("LtDetError: "), "a mistake in a config is one sentence"
    assert "\n" not in refusal
