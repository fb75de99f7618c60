"""The writers of a training's log."""

import importlib.util
import json
import logging
import re
import sys

import pytest
import torch
from detectron2.utils.events import EventStorage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer, load_config
from lt_det.training.log.wandb_writer import WandbWriter
from lt_det.training.log.writers import ConsoleWriter

NUMBER = r"[\d.e+-]+"
BY_BUCKET = rf"(?: (?:unseen|rare|common) {NUMBER})+"


@pytest.fixture
def console():
    """The console lines, whatever logging other tests have set up."""
    lines, logger = [], logging.getLogger("detectron2.utils.events")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def train(config, output, iterations, *overrides, resume=False):
    torch.manual_seed(0)
    words = ["OUTPUT_DIR", output, "SOLVER.MAX_ITER", iterations, *overrides]
    trainer = LongTailTrainer(load_config(str(config), [str(word) for word in words]))
    trainer.resume_or_load(resume=resume)
    trainer.train()


def test_the_log_of_a_training(sixty_config, tmp_path, console):
    train(sixty_config, tmp_path, 21, "MODEL.LONG_TAIL.LOSS.NAME", "eqlv2")
    assert len(console) == 2  # after 20 iterations and after the last; of 60 images no class is frequent
    losses = "  ".join(f"{name}: {NUMBER}" for name in ("loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"))
    assert re.fullmatch(
        rf" eta: [\d:]+  iter: 19  total_loss: {NUMBER}  {losses}  accuracy:{BY_BUCKET}  gradient_ratio:{BY_BUCKET}  "
        rf"time: {NUMBER}  data_time: {NUMBER}  data_time_share: \d+%  images/s: {NUMBER}  lr: {NUMBER}  max_mem: \d+M",
        console[0],
    ), console[0]
    curves = {"accuracy/common", "loss_state/gradient_ratio/common", "images_per_second", "data_time_share"}
    curves |= {"max_mem", "lr", "loss_cls", "eta_seconds"}
    first = json.loads((tmp_path / "metrics.json").read_text().splitlines()[0])
    assert curves <= first.keys()
    assert 0 < first["data_time_share"] < 1
    assert curves <= set(EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"])


def test_a_training_that_is_stopped_right_after_its_resume(console):
    """Writers are called for the iteration and again at the end, before there is a time per iteration."""
    writer = ConsoleWriter(40)
    with EventStorage(38):
        writer.write()
        writer.write()
    assert len(console) == 1


def test_line_of_a_cascade(console):
    with EventStorage() as storage:
        storage.put_scalar("stage0/accuracy/rare", 0.5, smoothing_hint=False)
        storage.step()
        values = {"loss_cls_stage0": 2.0, "stage0/accuracy/common": 0.25, "stage0/accuracy/frequent": 1.0}
        for name, value in {**values, "stage1/accuracy/1+": 0.0, "stage1/loss_state/alpha": 3.0}.items():
            storage.put_scalar(name, value, smoothing_hint=False)
        ConsoleWriter().write()
    (line,) = console  # without the rare classes, measured in an earlier iteration
    assert line == (
        " iter: 1  loss_cls_stage0: 2  stage0/accuracy: common 0.25 frequent 1  stage1/accuracy: 1+ 0  stage1/alpha: 3"
    )


WANDB = """
import json
from pathlib import Path

class Error(Exception):
    pass

def init(**options):
    folder = Path(options["dir"])
    options["events"] = len(list(folder.glob("events.out.tfevents.*")))
    (folder / "options.jsonl").open("a").write(json.dumps(options) + "\\n")
    if options["project"] == "forbidden":
        raise Error("No API key configured.")
    return Run(folder)

class Run:
    def __init__(self, folder):
        self.folder = folder

    def define_metric(self, name, step_metric):
        (self.folder / "axes.jsonl").open("a").write(json.dumps([name, step_metric]) + "\\n")

    def finish(self):
        (self.folder / "finished").touch()
"""


@pytest.fixture
def fake_wandb(tmp_path, monkeypatch):
    """A module that records its calls, because the real one is not installed everywhere."""
    file = tmp_path / "wandb.py"
    file.write_text(WANDB)
    spec = importlib.util.spec_from_file_location("wandb", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "wandb", module)


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_weights_and_biases_mirrors_the_log_and_a_resumed_training_continues_its_run(
    sixty_config, tmp_path, fake_wandb
):
    output = tmp_path / "out"
    output.mkdir()
    train(sixty_config, output, 3, "WANDB_PROJECT", "mine")
    train(sixty_config, output, 5, "WANDB_PROJECT", "mine", resume=True)
    train(sixty_config, output, 3, "WANDB_PROJECT", "mine")
    first, resumed, fresh = started = lines_of(output / "options.jsonl")
    assert first["id"] == resumed["id"] != fresh["id"]
    assert first["project"] == "mine"
    assert first["config"]["SOLVER"]["MAX_ITER"] == 3
    assert all(run["sync_tensorboard"] for run in started)
    # A run mirrors the files that are opened after it started: one for each training.
    assert [run["events"] for run in started] == [0, 1, 2]
    files = sorted(output.glob("events.out.tfevents.*"))
    assert len(files) == 3
    logged = EventAccumulator(str(files[1])).Reload()
    (row,) = [row for row in lines_of(output / "metrics.json") if row["iteration"] == 4]
    for name, value in row.items():
        if name != "iteration":
            (point,) = logged.Scalars(name)
            assert (point.step, point.value) == (4, pytest.approx(value))
    assert lines_of(output / "axes.jsonl") == [["*", "global_step"]] * 3
    assert (output / "finished").is_file()


def test_weights_and_biases_that_does_not_start(tmp_path, fake_wandb):
    writer = WandbWriter("forbidden", str(tmp_path), {})
    with EventStorage() as storage:
        storage.put_scalar("loss_cls", 1.0)
        with pytest.raises(LtDetError, match=r"\(No API key configured\); log in with"):
            writer.write()


def test_weights_and_biases_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LtDetError, match=r"'mine'.*wandb is not installed; pip install"):
        WandbWriter("mine", str(tmp_path), {})


def test_the_real_weights_and_biases_keeps_the_log_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    first, resumed = WandbWriter("mine", str(tmp_path), {"lr": 0.1}), WandbWriter("mine", str(tmp_path), {"lr": 0.1})
    resumed.load_state_dict(first.state_dict())
    for writer in (first, resumed):
        with EventStorage(3) as storage:
            storage.put_scalar("accuracy/rare", 0.25)
            writer.write()
            writer.close()
    files = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert {file.stem for file in files} == {f"run-{first.state_dict()['run_id']}"}
    assert all(b"accuracy/rare" in file.read_bytes() for file in files)
