"""Whole bake-offs on a detector with random weights: results, resumption, failures, and what is written."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.bakeoff import trials
from lt_det.bakeoff.bakeoff import run_bakeoff
from lt_det.bakeoff.fitting import DivergedError
from lt_det.bakeoff.options import BakeoffOptions
from lt_det.bakeoff.writing import evaluate_written
from lt_det.errors import LtDetError
from lt_det.evaluation.bakeoff_schema import read_bakeoff
from lt_det.io.lock import folder_lock
from lt_det.training import LongTailTrainer
from tests.helpers.proposals import TRAIN, VAL, random_detector, write_config

CANDIDATES = """
candidates:
  - loss: seesaw
  - name: too fast
    loss: softmax
    learning_rates: [1.0e+30]
  - adjustment: {tau_norm: 0.5}
"""
DRAWS = 100


@pytest.fixture(scope="module")
def cfg(mini, tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    few = mini.train_json.with_name("first_60_train.json")
    data = json.loads(mini.train_json.read_text())
    data["images"] = data["images"][:60]
    kept = {image["id"] for image in data["images"]}
    data["annotations"] = [one for one in data["annotations"] if one["image_id"] in kept]
    few.write_text(json.dumps(data))
    config = write_config(mini, folder, 12)
    config.write_text(
        config.read_text().replace(str(mini.train_json), str(few)).replace("RESAMPLES: 0", f"RESAMPLES: {DRAWS}")
    )
    (folder / "mine.yaml").write_text(CANDIDATES)
    return random_detector(config, folder)


def options_in(cfg, output, **changes):
    chosen = {"candidates": f"{cfg.OUTPUT_DIR}/mine.yaml", "seeds": 2, "folds": 2, "steps": 20, "batch_size": 32}
    return BakeoffOptions(**chosen | changes, output=output)


@pytest.fixture(scope="module")
def finished(cfg, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bakeoff")
    snapshots = []
    return run_bakeoff(cfg, options_in(cfg, folder), on_result=snapshots.append), folder, snapshots


def test_the_detector_as_it_is_has_its_own_metrics(cfg, finished):
    bakeoff, _, _ = finished
    own = LongTailTrainer.evaluate(cfg)["bbox"]
    table = bakeoff.entry("as it is").seeds[0].metrics
    np.testing.assert_equal({name: math.nan if table[name] is None else table[name] for name in own}, own)


def test_what_is_in_it(cfg, finished):
    bakeoff, folder, snapshots = finished
    assert read_bakeoff(folder / "bakeoff.json") == bakeoff
    assert (folder / "bakeoff.html").stat().st_size > 10_000
    assert not bakeoff.unfinished
    assert [entry.name for entry in bakeoff.candidates if entry.kind == "retrained"] == ["retrained"]
    seesaw = bakeoff.entry("seesaw")
    assert [seed.seed for seed in seesaw.seeds] == [0, 1]
    assert [fold.fold for fold in seesaw.folds] == [0, 1]
    assert seesaw.differences["AP"].interval is not None
    assert seesaw.learning_rate in [rate.learning_rate for rate in seesaw.learning_rates]
    assert "diverge" in bakeoff.entry("too fast").failed
    assert bakeoff.recommendation.name in ("retrained", "seesaw")
    assert len(snapshots) >= 5
    assert snapshots[0].unfinished


def test_the_recommended_detector_has_the_metrics_of_the_table(cfg, finished):
    bakeoff, _, _ = finished
    metrics = evaluate_written(bakeoff.written.config, VAL)["bbox"]
    table = bakeoff.entry(bakeoff.written.name).seeds[0].metrics
    np.testing.assert_equal({name: math.nan if table[name] is None else table[name] for name in metrics}, metrics)


def test_datasets_that_a_users_function_makes(cfg, finished, own_functions, tmp_path):
    """Without a file of annotations, as in Detectron2's tutorial."""
    bakeoff, _, _ = finished
    own = cfg.clone()
    own.defrost()
    own.DATASETS.TRAIN, own.DATASETS.TEST = ([own_functions(name)] for name in (TRAIN, VAL))
    own.OUTPUT_DIR = str(tmp_path)
    result = run_bakeoff(own, options_in(cfg, tmp_path / "bakeoff", seeds=1))
    assert not result.unfinished
    assert result.entry("seesaw").learning_rate == bakeoff.entry("seesaw").learning_rate
    table, metrics = result.entry("as it is").seeds[0].metrics, LongTailTrainer.evaluate(own)["bbox"]
    np.testing.assert_equal({name: math.nan if table[name] is None else table[name] for name in metrics}, metrics)


@pytest.fixture
def own_functions():
    """Registers the records of a dataset under another name, with a function and the names of the classes alone."""
    made = []

    def register(name):
        records = DatasetCatalog.get(name)
        made.append(f"own_{name}")
        DatasetCatalog.register(made[-1], lambda: records)
        MetadataCatalog.get(made[-1]).set(thing_classes=MetadataCatalog.get(name).thing_classes)
        return made[-1]

    yield register
    for name in made:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_a_second_call_trains_nothing_and_may_write_another_candidate(cfg, finished, no_training):
    bakeoff, folder, _ = finished
    again = run_bakeoff(cfg, options_in(cfg, folder, write="as it is, tau_norm 0.5"))
    assert again.written.name == "as it is, tau_norm 0.5"
    assert again.entry("too fast").failed == "it trains"  # what has failed is tried again
    assert again.entry("seesaw") == bakeoff.entry("seesaw")
    assert again.entry("retrained") == bakeoff.entry("retrained")


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*args, **options):
        raise LtDetError("it trains")

    for name in ("fit", "fit_learning_rates"):
        monkeypatch.setattr(trials, name, refuse)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TEST.DETECTIONS_PER_IMAGE", 10),
        ("MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.3),
        ("SOLVER.MOMENTUM", 0.5),
        ("TEST.BUCKETS.EDGES", [3, 20]),
    ],
)
def test_other_values_of_the_config_are_other_trials(cfg, finished, no_training, key, value):
    other = cfg.clone()
    other.merge_from_list([key, value])
    _, folder, _ = finished
    after = run_bakeoff(other, options_in(cfg, folder))
    assert [after.entry(name).failed for name in ("retrained", "seesaw")] == ["it trains", "it trains"]
    assert after.entry("as it is").finished
    assert not run_bakeoff(cfg, options_in(cfg, folder)).entry("seesaw").failed  # those of before are still there


def test_a_key_of_the_main_branch_of_detectron2_is_not_overlooked(cfg, finished, no_training):
    other = cfg.clone()
    other.defrost()
    other.DATALOADER.REPEAT_SQRT = False
    assert run_bakeoff(other, options_in(cfg, finished[1])).entry("seesaw").failed == "it trains"


def test_a_candidate_to_write_that_has_failed(cfg, finished):
    _, folder, _ = finished
    (folder / "bakeoff.html").unlink()
    with pytest.raises(LtDetError, match=r"--write is 'too fast'.*diverges"):
        run_bakeoff(cfg, options_in(cfg, folder, write="too fast"))
    assert (folder / "bakeoff.html").is_file()


def test_an_interruption_while_the_detector_is_written(cfg, finished, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("lt_det.bakeoff.bakeoff.write_detector", interrupted)
    assert run_bakeoff(cfg, options_in(cfg, finished[1])).unfinished


def test_a_bug_in_one_candidate_leaves_the_others(cfg, tmp_path, monkeypatch):
    train = trials.fit_learning_rates

    def broken(of_detector, candidate, *args, **options):
        if candidate.name == "seesaw":
            raise ValueError("a bug in a loss")
        return train(of_detector, candidate, *args, **options)

    monkeypatch.setattr(trials, "fit_learning_rates", broken)
    bakeoff = run_bakeoff(cfg, options_in(cfg, tmp_path, seeds=1))
    assert bakeoff.entry("seesaw").failed == "ValueError: a bug in a loss"
    assert bakeoff.entry("retrained").finished


def test_the_next_best_learning_rate_where_the_best_diverges(cfg, tmp_path, monkeypatch):
    fit, rates = trials.fit, []

    def diverges(*args, learning_rate, **options):
        rates.append(learning_rate)
        if len(rates) == 1:
            raise DivergedError("it diverges")
        return fit(*args, learning_rate=learning_rate, **options)

    monkeypatch.setattr(trials, "fit", diverges)
    bakeoff = run_bakeoff(cfg, options_in(cfg, tmp_path, seeds=1))
    assert bakeoff.entry("retrained").finished
    assert rates[0] != rates[1]


def test_a_corrupt_classifier(cfg, finished):
    _, folder, _ = finished
    (file,) = folder.glob("trials/seesaw-*/seed_0.pth")
    content = file.read_bytes()
    file.write_bytes(b"not a checkpoint")
    try:
        with pytest.raises(LtDetError, match=r"seed_0\.pth cannot be read"):
            run_bakeoff(cfg, options_in(cfg, folder, write="seesaw"))
    finally:
        file.write_bytes(content)


def test_an_interruption_keeps_what_is_finished(cfg, finished, tmp_path, monkeypatch):
    bakeoff, _, _ = finished
    fit, calls = trials.fit, []

    def interrupted(*args, **options):
        calls.append(args[1].name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(trials, "fit", interrupted)
    unfinished = run_bakeoff(cfg, options_in(cfg, tmp_path))
    assert unfinished.unfinished
    assert unfinished.written is None
    assert (tmp_path / "bakeoff.html").is_file()
    assert calls == ["retrained", "retrained", "seesaw", "seesaw"]
    monkeypatch.setattr(trials, "fit", fit)
    after = run_bakeoff(cfg, options_in(cfg, tmp_path))
    assert not after.unfinished
    for entry in bakeoff.candidates:
        assert [seed.metrics for seed in after.entry(entry.name).seeds] == [seed.metrics for seed in entry.seeds]
        assert [fold.metrics for fold in after.entry(entry.name).folds] == [fold.metrics for fold in entry.folds]


def state_and_parent(stat):
    """State and parent's id of a process, from its file in /proc, where one that has ended may stay as a zombie."""
    try:
        state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        return state, int(parent)
    except OSError:
        return "Z", None


def test_two_processes_give_the_numbers_of_one_also_after_a_kill(cfg, finished, tmp_path):
    bakeoff, _, _ = finished
    options = ["--candidates", f"{cfg.OUTPUT_DIR}/mine.yaml", "--seeds", "2", "--folds", "2", "--steps", "20"]
    options += ["--batch-size", "32", "--num-processes", "2", "--output", str(tmp_path)]
    config = f"{cfg.OUTPUT_DIR}/config.yaml"
    command = [sys.executable, "-m", "lt_det.cli", "bakeoff", "--config", config, *options]
    command += ["MODEL.WEIGHTS", cfg.MODEL.WEIGHTS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None and not list(tmp_path.glob("trials/*/*.json")):
        time.sleep(0.1)
    workers = [file for file in Path("/proc").glob("[0-9]*/stat") if state_and_parent(file)[1] == process.pid]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(workers) >= 2
    while any(state_and_parent(worker)[0] != "Z" for worker in workers):  # they end with the main process
        time.sleep(0.1)
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Traceback" not in again.stderr
    after = read_bakeoff(tmp_path / "bakeoff.json")
    for entry in bakeoff.candidates:
        assert [seed.metrics for seed in after.entry(entry.name).seeds] == [seed.metrics for seed in entry.seeds]
        assert [fold.metrics for fold in after.entry(entry.name).folds] == [fold.metrics for fold in entry.folds]


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("MODEL.WEIGHTS", "", "MODEL.WEIGHTS"),
        ("MODEL.WEIGHTS", "gone.pth", "gone.pth"),
        ("DATASETS.TRAIN", (TRAIN, VAL), "DATASETS.TRAIN"),
        ("DATASETS.TEST", (), "DATASETS.TEST"),
    ],
)
def test_a_config_that_cannot_be_used(cfg, tmp_path, key, value, complaint):
    wrong = cfg.clone()
    wrong.merge_from_list([key, value])
    with pytest.raises(LtDetError, match=complaint) as error:
        run_bakeoff(wrong, options_in(cfg, tmp_path / "out"))
    assert "\n" not in str(error.value)


def test_an_unknown_name_to_write(cfg, tmp_path):
    with pytest.raises(LtDetError, match=r"'seasaw'.*'retrained', .*'seesaw'"):
        run_bakeoff(cfg, options_in(cfg, tmp_path, write="seasaw"))


def test_two_bakeoffs_in_one_folder(cfg, tmp_path):
    with folder_lock(tmp_path, "bake-off"), pytest.raises(LtDetError, match=rf"bake-off .*is running in {tmp_path}"):
        run_bakeoff(cfg, options_in(cfg, tmp_path))


def test_a_full_disk(cfg, small_disk):
    with pytest.raises(LtDetError, match="free space") as error:
        run_bakeoff(cfg, options_in(cfg, small_disk / "out"))
    assert "\n" not in str(error.value)
