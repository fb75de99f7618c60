"""What benchmarks/gpu.sh plans and prepares, without running a stage."""

import subprocess

from benchmarks.gpu import main, page
from benchmarks.gpu.figures import read_figures


def test_the_stages_leave_time_for_the_summary():
    assert sum(stage.seconds for stage in main.STAGES.values()) < main.TOTAL_SECONDS


def test_a_machine_without_a_gpu_prepares_all_images_for_one_that_has_it(monkeypatch, tmp_path):
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(main, "PREPARED", tmp_path / ".gpu")
    monkeypatch.setattr(main, "commit", lambda: "0123456789ab")
    monkeypatch.setattr(subprocess, "run", run)  # drawing 1100 images takes half a minute
    assert main.prepare() == 0
    assert (tmp_path / ".gpu" / "commit").read_text() == "0123456789ab\n"
    (command,) = commands
    assert command[-4:] == ["--num-train", "1000", "--num-val", "100"]


def test_the_tables_of_the_page_are_made_from_the_figures():
    text = page.PAGE.read_text()
    assert page.with_tables(text, page.by_case(read_figures(page.RESULTS))) == text, "run python -m benchmarks.gpu.page"
