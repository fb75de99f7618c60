import io
import sys
from types import ModuleType

import msgspec
import pytest
from rich.console import Console

import lt_det.cli.bakeoff as command
import lt_det.reporting.bakeoff.live_results
from lt_det.cli import main
from lt_det.evaluation.bakeoff_schema import Written
from lt_det.reporting.bakeoff.live_results import LiveResults
from tests.helpers import REPOSITORY
from tests.helpers.bakeoffs import bakeoff

CONFIG = str(REPOSITORY / "configs" / "mini_lvis_softmax.yaml")


@pytest.fixture(scope="module")
def finished():
    return bakeoff(num_classes=12)


@pytest.fixture
def text(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(command, "console", Console(file=stream, width=120))
    return stream


@pytest.fixture
def calls(monkeypatch, finished):
    """The calls of `run_bakeoff`, whose work is replaced: the command is tested, not the trainings."""
    found = []
    module = ModuleType("lt_det.bakeoff.bakeoff")

    def run_bakeoff(cfg, options, on_result, track):
        found.append((cfg, options))
        assert list(track("Training")(range(3))) == [0, 1, 2]
        on_result(bakeoff(num_classes=12, pending=("ib",)))
        return module.result

    module.run_bakeoff, module.result = run_bakeoff, finished
    monkeypatch.setitem(sys.modules, "lt_det.bakeoff.bakeoff", module)
    found.append(module)
    return found


def test_options_reach_the_work(calls, text, tmp_path):
    arguments = ["--candidates", "full", "--seeds", "5", "--folds", "4", "--steps", "70", "--batch-size", "64"]
    arguments += ["--passes", "2", "--num-processes", "2", "--write", "ldam", "--output", str(tmp_path / "out")]
    assert main(["bakeoff", "--config", CONFIG, *arguments, "SEED", "7"]) == 0
    cfg, options = calls[1]
    assert cfg.SEED == 7
    assert (options.candidates, options.seeds, options.folds, options.steps) == ("full", 5, 4, 70)
    assert (options.batch_size, options.passes, options.num_processes, options.write) == (64, 2, 2, "ldam")
    assert str(tmp_path / "out" / "bakeoff.html") in text.getvalue()


def test_what_is_printed(calls, text, finished):
    calls[0].result = msgspec.structs.replace(
        finished, written=Written(name="seesaw", config="out/config.yaml", checkpoint="out/model_seesaw.pth")
    )
    assert main(["bakeoff", "--config", CONFIG, "OUTPUT_DIR", "somewhere"]) == 0
    printed = text.getvalue()
    assert f"Recommended: {finished.recommendation.name}" in printed
    assert finished.recommendation.reason in printed
    assert "cdt: failed" in printed
    assert "--config out/config.yaml --eval-only" in printed
    assert "somewhere/bakeoff/bakeoff.html" in printed
    # A line for each candidate as it finishes, and one table at the end.
    assert printed.index("ldam: AP") < printed.index("Box AP on")
    assert printed.count("ib: AP") == printed.count("ldam: AP") == 1


def test_interrupted(calls, text):
    calls[0].result = bakeoff(num_classes=12, pending=("ib",))
    assert main(["bakeoff", "--config", CONFIG]) == 130
    assert "Unfinished" in text.getvalue()


def test_a_second_interrupt_still_leaves_the_table(finished):
    stream = io.StringIO()
    live = LiveResults(Console(file=stream, width=120))

    def interrupted():
        with live:
            live.show(finished)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "Box AP on" in stream.getvalue()


def test_live_on_a_terminal(finished):
    stream = io.StringIO()
    console = Console(file=stream, width=120, height=60, force_terminal=True)
    with LiveResults(console) as live:
        for _ in live.track("Training")(range(2)):
            live.show(finished)
            assert "Training" in stream.getvalue()
            assert "seesaw" in stream.getvalue()
    assert "cdt: failed" not in stream.getvalue()  # its line is in the table
    last = stream.getvalue().rpartition("\x1b[2K")[2]  # after the live table has been erased
    assert last.count("Box AP on") == 1
    assert "Training" not in last


def test_progress_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(lt_det.reporting.bakeoff.live_results, "_SECONDS_BETWEEN_LINES", 0)
    stream = io.StringIO()
    assert list(LiveResults(Console(file=stream, width=120)).track("Features")(range(3))) == [0, 1, 2]
    assert stream.getvalue() == "Features: 1 of 3\nFeatures: 2 of 3, time left 0:00:00\n"


def test_mistakes(calls, capsys):
    for arguments, words in (
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", CONFIG, "--folds", "1"], "--folds is 1"),
        (["--config", CONFIG, "--candidates", "nothing"], "--candidates is nothing"),
    ):
        assert main(["bakeoff", *arguments]) == 1
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
