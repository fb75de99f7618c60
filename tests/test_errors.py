"""The sentences for packages that do not import name what really failed."""

import os
import sys

import pytest

from lt_det.errors import LtDetError, exit_code_of, import_problem, reason_of
from lt_det.evaluation.result import _pandas


def test_a_package_that_is_not_installed():
    with pytest.raises(ImportError) as raised:
        import no_such_package  # noqa: F401
    assert "no_such_package, which is not installed; run pip" in import_problem(raised.value, "no_such_package", "pip")


def test_a_package_that_lacks_another(tmp_path, monkeypatch):
    (tmp_path / "pandas.py").write_text("from no_such_package import anything\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    with pytest.raises(LtDetError, match=r"installed but does not import .*no_such_package"):
        _pandas()


def test_a_package_without_a_name(tmp_path, monkeypatch):
    (tmp_path / "pandas.py").write_text("from math import no_such_name\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    with pytest.raises(LtDetError, match=r"installed but does not import .*no_such_name"):
        _pandas()


def test_the_reason_of_an_exception():
    with pytest.raises(KeyError) as raised:
        {}["a key"]
    assert reason_of(raised.value).startswith("KeyError: a key, test_errors.py line ")
    assert reason_of(ValueError()) == "ValueError"


@pytest.mark.parametrize("text", ["", "Unable to allocate 8 TiB for an array.\nMore"])
def test_too_little_memory_is_one_sentence(capsys, text):
    def command():
        raise MemoryError(text)

    assert exit_code_of(command, traceback=False) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: There is not enough memory")
    assert ("8 TiB" in printed) == bool(text)
    assert printed.count("\n") == 1
    with pytest.raises(MemoryError):
        exit_code_of(command, traceback=True)


def test_a_path_that_the_system_refuses_is_one_sentence(capsys, tmp_path):
    def command():
        (tmp_path / ("x" * 300)).is_dir()

    assert exit_code_of(command, traceback=False) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {tmp_path}/xxx")
    assert printed.endswith("shorten the name or choose another path.\n")
    with pytest.raises(OSError, match="too long"):
        exit_code_of(command, traceback=True)


def test_a_missing_file_that_no_one_expected_is_a_bug(tmp_path):
    with pytest.raises(FileNotFoundError):
        exit_code_of(lambda: os.stat(tmp_path / "missing"), traceback=False)
