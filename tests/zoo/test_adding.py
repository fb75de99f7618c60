"""`lt-det zoo add`: what a row gets of a real training, and the trainings that are refused."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import lt_det
from lt_det.cli import main
from lt_det.errors import LtDetError
from lt_det.zoo.adding import add_run
from lt_det.zoo.rows import Published, Row, read_row, write_row
from lt_det.zoo.run_log import read_log
from tests.helpers import REPOSITORY

ROW = Path("zoo/rows/mini_lvis_small.json")
EVALUATION = Path("output/inference/mini_lvis_val/evaluation.json")


def lines():
    return [json.loads(line) for line in Path("output/metrics.json").read_text().splitlines()]


def write_lines(values):
    Path("output/metrics.json").write_text("".join(json.dumps(line) + "\n" for line in values))


def replace_in(file, old, new, count=-1):
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new, count))


def copy_run(folder, seed):
    """The run as one of another seed, whose AP differs."""
    for file in [*Path("output").glob("*.*"), EVALUATION]:
        target = folder / file.relative_to("output")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    replace_in(folder / "config.yaml", "SEED: 3", f"SEED: {seed}")
    replace_in(folder / "log.txt", "OUTPUT_DIR", "OUTPUT_DIR ")


def test_a_row_has_what_the_run_has(clone, capsys):
    commit = subprocess.run(["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"], cwd=REPOSITORY,
                            capture_output=True, text=True)  # fmt: skip
    assert main(["zoo", "add", "output"]) == 0
    assert str(ROW) in capsys.readouterr().out
    row = read_row(ROW)
    assert row.config == "configs/mini_lvis_small.yaml"
    (run,) = row.runs
    evaluation = json.loads(EVALUATION.read_text())
    metrics = evaluation["tasks"]["bbox"]["metrics"]
    assert run.metrics == {"bbox": {name: value for name, value in metrics.items() if name.startswith("AP")}}
    assert {"AP", "APr", "APc", "APf"} <= set(run.metrics["bbox"])
    assert (run.seed, run.iterations, run.overrides) == (3, 40, {})
    assert (run.dataset, run.fingerprint) == ("mini_lvis_val", evaluation["fingerprint"])
    assert {"torch", "detectron2", "python"} <= set(run.software)
    if commit.returncode == 0:  # this is a clone
        assert run.commit.partition("-")[0] == commit.stdout.strip().partition("-")[0]
    assert run.hardware.endswith("1 thread") or "NVIDIA" in run.hardware


def test_seeds_share_a_row_and_what_it_had_stays(clone):
    published = Published(source="EQL", task="bbox", metrics={"AP": 20.8}, protocol="other", differs="LVIS v0.5")
    write_row(Row(config="configs/mini_lvis_small.yaml", published=[published]), ROW.parent)
    add_run("output")
    copy_run(clone / "second", 4)
    add_run("second")
    row = read_row(ROW)
    assert [run.seed for run in row.runs] == [3, 4]
    assert row.published == [published]
    with pytest.raises(LtDetError, match="seed 3"):
        add_run("output")


def test_runs_of_other_data_do_not_share_a_row(clone):
    add_run("output")
    copy_run(clone / "second", 4)
    fingerprint = json.loads(EVALUATION.read_text())["fingerprint"]
    replace_in(clone / "second" / EVALUATION.relative_to("output"), fingerprint, "0" * 40)
    with pytest.raises(LtDetError, match="mini_lvis_val"):
        add_run("second")


def test_another_folder_of_rows(clone, tmp_path):
    file, _ = add_run("output", tmp_path / "rows", commit="abc1234", hardware="8 x H100")
    assert file == tmp_path / "rows" / "mini_lvis_small.json"
    assert (read_row(file).runs[0].commit, read_row(file).runs[0].hardware) == ("abc1234", "8 x H100")
    assert not ROW.exists()
    Path("zoo").rename("elsewhere")
    with pytest.raises(LtDetError, match="--out"):
        add_run("output")


def test_a_config_that_differs(clone):
    replace_in("configs/mini_lvis_small.yaml", "BASE_LR: 0.02", "BASE_LR: 0.01")
    with pytest.raises(LtDetError, match=r"SOLVER.BASE_LR 0.02.*--allow-overrides"):
        add_run("output")
    _, row = add_run("output", allow_overrides=True)
    assert row.runs[0].overrides == {"SOLVER.BASE_LR": 0.02}


def rename_config(name):
    replace_in("output/log.txt", "configs/mini_lvis_small.yaml", name)


def cut(file, size):
    os.truncate(file, size)


def without(*names):
    write_lines([{key: value for key, value in line.items() if key not in names} for line in lines()])


def lose_evaluation():
    EVALUATION.unlink()


def lose_metrics():
    Path("output/metrics.json").unlink()


def turn_into_adjustment():
    lose_metrics()
    Path("output/calibration.json").write_text("{}")


def turn_lazy():
    Path("output/config.yaml").write_text("model: {_target_: x}\nlr_multiplier: {}\n")


def turn_into_detectron2():
    text = Path("output/config.yaml").read_text()
    start = text.index("  LONG_TAIL:")
    end = text.index("\n  M", start)
    Path("output/config.yaml").write_text(text[:start] + text[end + 1 :])


def resume_with(key, value):
    """The log of a training that was resumed after a key of its config had changed."""
    log = Path("output/log.txt")
    text = log.read_text()
    first = read_log(log).configs[0]
    name, _, last = key.rpartition(".")
    first[name][last] = value
    log.write_text("[11/27 00:00:00] detectron2 INFO: Running with full config:\n" + json.dumps(first) + "\n" + text)


def nan_ap():
    write_lines([{**line, "bbox/AP": float("nan")} if "bbox/AP" in line else line for line in lines()])


def nothing_evaluated():
    content = json.loads(EVALUATION.read_text())
    content["tasks"]["bbox"]["metrics"]["AP"] = None
    EVALUATION.write_text(json.dumps(content))


BROKEN = {
    "no folder": (lambda: Path("output").rename("gone"), "output"),
    "a folder of something else": (lambda: Path("output/config.yaml").unlink(), "config.yaml"),
    "a corrupt config": (lambda: cut("output/config.yaml", 700), "config.yaml"),
    "a LazyConfig": (turn_lazy, "LazyConfig"),
    "Detectron2's own training": (turn_into_detectron2, "MODEL.LONG_TAIL"),
    "a post-hoc adjustment": (turn_into_adjustment, "post-hoc adjustment"),
    "no metrics": (lose_metrics, "metrics.json"),
    "empty metrics": (lambda: cut("output/metrics.json", 0), "0 of 40"),
    "unfinished": (lambda: write_lines(lines()[:1]), "20 of 40.*--resume"),
    "a truncated last line": (lambda: cut("output/metrics.json", len(json.dumps(lines()[0])) + 50), "20 of 40"),
    "a line that is no json": (lambda: replace_in("output/metrics.json", "{", "<", 1), "line 1"),
    "a line without iteration": (lambda: without("iteration"), "line 1"),
    "two trainings in one folder": (lambda: write_lines([*lines(), *lines()]), "line 4.*40 to 19"),
    "longer than planned": (lambda: write_lines([*lines(), {"iteration": 59, "total_loss": 1}]), "60.*MAX_ITER 40"),
    "no AP at the end": (lambda: without("bbox/AP"), "bbox/AP.*--resume"),
    "NaN at the end": (nan_ap, "nan"),
    "not evaluated": (lose_evaluation, "evaluation.json.*--resume"),
    "nothing to evaluate": (nothing_evaluated, "bbox AP is null"),
    "a truncated evaluation": (lambda: cut(EVALUATION, 1000), "evaluation.json"),
    "evaluated with other weights": (lambda: replace_in("output/metrics.json", '"bbox/AP": ', '"bbox/AP": 1'), "ended"),
    "no log": (lambda: Path("output/log.txt").unlink(), "log.txt.*--config"),
    "a config of one's own": (lambda: rename_config("/home/me/mine.yaml"), "/home/me/mine.yaml"),
    "a config that is not here": (lambda: rename_config("configs/gone.yaml"), "configs/gone.yaml"),
    "resumed with another batch": (lambda: resume_with("SOLVER.IMS_PER_BATCH", 4), "SOLVER.IMS_PER_BATCH"),
    "a corrupt row": (lambda: ROW.write_text('{"config": 1}'), str(ROW)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_refused_in_one_sentence(clone, name):
    break_it, expected = BROKEN[name]
    break_it()
    before = sorted(Path("zoo").rglob("*"))
    with pytest.raises(LtDetError, match=f"(?s){expected}") as raised:
        add_run("output")
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")
    assert sorted(Path("zoo").rglob("*")) == before


def test_a_config_is_given_by_its_name(clone, capsys):
    assert main(["zoo", "check", "output", "--config", "mini_lvis_small"]) == 0
    assert "configs/mini_lvis_small.yaml" in capsys.readouterr().out
    assert main(["zoo", "check", "output", "--config", "mini_lvis_smal"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --config is mini_lvis_smal,")
    assert "was trained with" not in error


def test_a_user_error_on_the_command_line(clone, capsys):
    assert main(["zoo", "add", "gone"]) == 1
    assert re.fullmatch(r"error: gone .*\n", capsys.readouterr().err)


def test_a_run_that_was_resumed_as_it_was(clone):
    text = Path("output/log.txt").read_text()
    Path("output/log.txt").write_text(text + text.replace("TEST.EVAL_PERIOD', '0'", "TEST.EVAL_PERIOD', '20'"))
    assert len(read_log(Path("output/log.txt")).configs) == 2
    add_run("output")


def test_the_log_says_what_trains(clone):
    assert f"lt_det {lt_det.__version__}, commit " in Path("output/log.txt").read_text()


def test_gpus_in_a_log(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text(
        "[11/27 00:00:00] detectron2 INFO: Rank of current process: 0. World size: 8\n"
        "[11/27 00:00:00] detectron2 INFO: Environment info:\n"
        "GPU 0,1,2,3,4,5,6,7              NVIDIA A100-SXM4-80GB (arch=8.0)\n"
        "PyTorch                          2.4.0 @/opt/torch\n"
        "[11/27 00:00:00] detectron2 INFO: Command line arguments: Namespace(config_file=print('x'), opts=[])\n"
    )
    log = read_log(file)
    assert (log.hardware, log.software) == ("8 x NVIDIA A100-SXM4-80GB", {"torch": "2.4.0"})
    assert log.config_file is None
    assert log.commit is None
