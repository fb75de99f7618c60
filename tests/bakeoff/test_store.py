"""Finished trials that are damaged on disk: never a traceback, and no weights that were not written."""

import pytest
import torch

from lt_det.bakeoff.candidates import Candidate
from lt_det.bakeoff.detector import ClassifierStates
from lt_det.bakeoff.store import Trial, TrialStore
from lt_det.errors import LtDetError
from lt_det.evaluation.schema import parse_evaluation
from tests.helpers.evaluations import evaluation, write_run
from tests.helpers.hostile import Program


@pytest.fixture
def store(tmp_path):
    write_run(tmp_path / "run", evaluation(num_classes=6, draws=20))
    (file,) = (tmp_path / "run").glob("inference/*/evaluation.json")
    store = TrialStore(tmp_path / "store", lambda candidate: {})
    state = {"weight": torch.arange(6.0).reshape(2, 3)}
    trial = Trial(evaluation=parse_evaluation(file.read_bytes()))
    store.write(Candidate("eql"), "seed_0", trial, ClassifierStates([state], [{}]))
    return store


def files(store):
    (trial,) = store.folder.glob("*/seed_0.json")
    return trial, trial.with_suffix(".pth")


def flip(file):
    content = bytearray(file.read_bytes())
    place = content.index(torch.arange(6.0).numpy().tobytes())
    content[place + 3] ^= 1
    file.write_bytes(content)


def test_what_was_written(store):
    states = store.read_classifiers(Candidate("eql"), "seed_0")
    assert states.classifiers[0]["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert TrialStore(store.folder, lambda candidate: {}).read(Candidate("eql"), "seed_0") is not None


@pytest.mark.parametrize(
    "content",
    [
        {"classifiers": None, "losses": []},
        {"classifiers": [[1]], "losses": []},
        {"classifiers": ["text"], "losses": []},
        {"classifiers": [{"weight": "text"}], "losses": []},
        {"classifiers": [{"weight": torch.tensor([1, float("nan")])}], "losses": []},
        {"classifiers": []},
        [1],
        None,
    ],
)
def test_classifiers_of_another_form(store, content):
    torch.save(content, files(store)[1])
    with pytest.raises(LtDetError, match=r"seed_0\.pth cannot be read; delete it"):
        store.read_classifiers(Candidate("eql"), "seed_0")


def test_classifiers_with_a_program(store, tmp_path):
    torch.save({"classifiers": [], "losses": [], "program": Program(tmp_path / "created")}, files(store)[1])
    with pytest.raises(LtDetError, match=r"seed_0\.pth cannot be read"):
        store.read_classifiers(Candidate("eql"), "seed_0")
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize("damage", [flip, lambda file: file.write_bytes(b""), lambda file: file.unlink()])
def test_classifiers_that_have_changed(store, damage):
    damage(files(store)[1])
    with pytest.raises(LtDetError, match=r"seed_0\.pth cannot be read; delete it"):
        store.read_classifiers(Candidate("eql"), "seed_0")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"evaluation": ' + b"[" * 3000])
def test_damaged_trials_are_trained_again(store, content):
    files(store)[0].write_bytes(content)
    assert TrialStore(store.folder, lambda candidate: {}).read(Candidate("eql"), "seed_0") is None
