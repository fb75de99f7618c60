"""Paths with ~ and environment variables."""

from lt_det.io.paths import expanded


def test_home_and_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("SCRATCH", "/scratch/$1")
    assert expanded("~/best.pth") == "/home/someone/best.pth"
    assert expanded("$SCRATCH/out") == "/scratch/$1/out"
    assert expanded("${SCRATCH}/$UNKNOWN") == "/scratch/$1/$UNKNOWN"
    assert expanded("https://host/file?at=~now") == "https://host/file?at=~now"
    assert expanded("") == ""


def test_a_file_whose_name_looks_like_a_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRATCH", "/scratch")
    (tmp_path / "$SCRATCH").touch()
    assert expanded(tmp_path / "$SCRATCH") == f"{tmp_path}/$SCRATCH"
