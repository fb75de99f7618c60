"""Two trainings in one OUTPUT_DIR, and trainings on a disk that is full."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml
from detectron2.utils.events import EventStorage

from lt_det.errors import LtDetError
from lt_det.io import lock
from lt_det.training import LongTailTrainer, argument_parser, setup
from lt_det.training.config_files.run_config import training_config_kept
from lt_det.training.log.writers import EventFileWriter
from lt_det.training.resume.output_lock import release_output_dir
from tests.helpers import logged_training

FULL = Path("/dev/full")  # a device of Linux: every write fails as on a full disk


def arguments(config, output, *words):
    return argument_parser().parse_args(["--config", str(config), *words, "OUTPUT_DIR", str(output)])


def test_a_second_training_is_refused_and_an_evaluation_is_not(sixty_config, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.3)
    overrides = ("SOLVER.MAX_ITER", "100000", "SOLVER.STEPS", "()")
    first = logged_training.start(sixty_config, tmp_path, overrides=overrides)
    try:
        while not logged_training.iterations(tmp_path):
            assert first.poll() is None
            time.sleep(0.1)
        written = (tmp_path / "config.yaml").stat().st_mtime_ns
        logged = (tmp_path / "metrics.json").exists()
        with pytest.raises(LtDetError) as raised:
            setup(arguments(sixty_config, tmp_path, "--resume"))
        for part in (str(tmp_path), f"process {first.pid} on {os.uname().nodename}"):
            assert part in str(raised.value)
        assert (tmp_path / "config.yaml").stat().st_mtime_ns == written
        assert (tmp_path / "metrics.json").exists() == logged
        setup(arguments(sixty_config, tmp_path, "--eval-only", "DATASETS.TEST", "('streamed',)"))
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    setup(arguments(sixty_config, tmp_path))
    release_output_dir(str(tmp_path))


def setting_after_evaluation(config, folder, value):
    """What the folder's config.yaml says after an evaluation with another value."""
    overrides = ("DATASETS.TEST", "('streamed',)", "TEST.DETECTIONS_PER_IMAGE", str(value))
    setup(arguments(config, folder, "--eval-only", *overrides))
    return yaml.safe_load((folder / "config.yaml").read_text())["TEST"]["DETECTIONS_PER_IMAGE"]


@pytest.mark.parametrize("trace", ["model_final.pth", "metrics.json"])
def test_an_evaluation_leaves_the_config_of_the_training(sixty_config, tmp_path, trace):
    """Other commands read it: after an evaluation of the test set, a bake-off would choose on that set."""
    assert setting_after_evaluation(sixty_config, tmp_path, 11) == 11  # no training here
    assert setting_after_evaluation(sixty_config, tmp_path, 12) == 12
    written = (tmp_path / "config.yaml").read_bytes()
    (tmp_path / trace).touch()
    assert setting_after_evaluation(sixty_config, tmp_path, 13) == 12
    assert (tmp_path / "config.yaml").read_bytes() == written
    assert f"{tmp_path / 'config.yaml'} is kept as the training wrote it" in (tmp_path / "log.txt").read_text()
    assert not list(tmp_path.glob(".config*"))


def write_config_on_full_disk(folder):
    with training_config_kept(folder):
        (folder / "config.yaml").unlink()
        (folder / "config.yaml").symlink_to(FULL)
        (folder / "config.yaml").write_text("of the evaluation")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_an_evaluation_on_a_full_disk_leaves_the_config_of_the_training(tmp_path):
    (tmp_path / "config.yaml").write_text("of the training")
    (tmp_path / "model_final.pth").touch()
    with pytest.raises(OSError, match="No space left"):
        write_config_on_full_disk(tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "of the training"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_log_that_cannot_be_written_does_not_cost_the_training(sixty_config, tmp_path, capfd):
    output = tmp_path / "output"
    output.mkdir()
    for name in ("log.txt", "metrics.json"):
        (output / name).symlink_to(FULL)
    cfg = setup(arguments(sixty_config, output))
    cfg.defrost()
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 2, ()
    trainer = LongTailTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert (output / "model_final.pth").is_file()
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    assert "Logging error" not in errors
    for name in ("log.txt", "metrics.json"):
        assert errors.count(f"warning: {output / name} cannot be written (No space left on device)") == 1


def test_curves_on_a_full_disk(small_disk, capfd, caplog):
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    writer = EventFileWriter(str(small_disk))
    with EventStorage() as storage:
        for iteration in range(300):
            storage.iter = iteration
            storage.put_scalar("loss", float(iteration))
            writer.write()
            if iteration % 50 == 0 and "_writer" in vars(writer):
                with writer._ending_on_full_disk():
                    writer._writer.flush()
        writer.close()
    assert len([record for record in caplog.records if "TensorBoard" in record.getMessage()]) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_config_and_log_that_cannot_be_opened(sixty_config, tmp_path):
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(LtDetError, match=rf"config\.yaml cannot be written to {tmp_path}"):
        setup(arguments(sixty_config, tmp_path))
    release_output_dir(str(tmp_path))
