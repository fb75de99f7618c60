"""A few hundred mutations, always the same ones; `make fuzz` runs others and more."""

import pytest

from tests.fuzz.commands import Answer, run, try_one, wrong_with
from tests.fuzz.files import write_files
from tests.fuzz.mutations import JSON, differences, mutate
from tests.fuzz.subjects import SUBJECTS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    write_files(folder)
    return folder


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_mutation_has_an_answer(files, name):
    subject = SUBJECTS[name]
    expected = run(subject, files)
    assert wrong_with(expected) is None
    assert expected.code == 0, expected.errors
    found = [try_one(name, files, expected, seed) for seed in range(subject.runs)]
    assert not [str(finding) for finding in found if finding]


def test_mutations_are_the_same_each_time():
    content = b'{"images": [{"id": 1, "width": 2.5}], "names": ["a", "b"]}'
    found = [mutate(content, JSON, seed) for seed in range(200)]
    assert found == [mutate(content, JSON, seed) for seed in range(200)]
    assert len({mutation.content for mutation in found}) > 120


def test_differences():
    before = {"a": [{"b": 1, "c": "x"}], "d": 1.0, "e": [1], "f": 2}
    after = {"a": [{"b": "1", "c": "y"}], "d": 1e12, "e": [1, 2], "g": 2}
    assert set(differences(before, after)) == {
        ("a.*.b", "int to str"), ("a.*.c", "value"), ("d", "extreme"), ("e.*", "new"), ("f", "missing"), ("g", "new"),
    }  # fmt: skip
    assert set(differences(1, True)) == {("", "int to bool")}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(0, "", "", failure="ValueError"), "traceback"),
        (Answer(0, "", "", failure="more than 30 s of CPU time"), "hang"),
        (Answer(1, "", ""), "not one sentence"),
        (Answer(1, "", "error: one\nerror: two\n"), "not one sentence"),
        (Answer(3, "", "error: one\n"), "exit code"),
        (Answer(0, "x", "a.py:3: RuntimeWarning: invalid value\n"), "noise"),
        (Answer(1, "", "error: \x1b[31m\n"), "escape sequence"),
    ],
)
def test_wrong_answers_are_noticed(answer, kind):
    found = wrong_with(answer)
    assert found is not None
    assert found[0] == kind
