"""A training that no longer improves ends like any other, in all processes, and counts on when it is resumed."""

import json
import math
import shutil

import pytest
import torch
from detectron2.engine import DefaultTrainer, TrainerBase
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from lt_det.errors import LtDetError
from lt_det.evaluation.schema import read_evaluation
from lt_det.training import EarlyStopping, LongTailTrainer, ends_early, equip, load_config
from lt_det.training.preemption import EvalUnlessStopped, StoppableEvaluator
from tests.helpers import assert_same
from tests.helpers.configs import RANDOM_TRAINING
from tests.helpers.gloo import in_processes
from tests.helpers.lazy_hooks import lazy_config

EARLY = ("SOLVER.BEST_CHECKPOINT.METRIC", "bbox/AP", "SOLVER.EARLY_STOPPING.PATIENCE", 2, "SOLVER.MAX_ITER", 40)
EARLY += ("SOLVER.CHECKPOINT_PERIOD", 100)


def load(file):
    return torch.load(file, weights_only=False)


def logged(folder, name):
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return {line["iteration"]: line[name] for line in lines if name in line}


def test_it_ends_as_a_training_does(config, scripted, tmp_path, caplog):
    """The best is that of iteration 3. Two evaluations later it ends; the last of them is the final one."""
    with caplog.at_level("INFO"):
        trainer = scripted(config(*EARLY), 1.0, 2.0, 2.0, 1.5)
    assert trainer.iter == trainer.max_iter == 8
    assert logged(tmp_path, "bbox/AP") == {1: 1.0, 3: 2.0, 5: 2.0, 7: 1.5, 8: 1.5}
    final = load(tmp_path / "model_final.pth")
    assert final["trainer"]["hooks"]["EarlyStopping"]["values"] == {1: 1.0, 3: 2.0, 5: 2.0, 7: 1.5}
    assert final["iteration"] == final["trainer"]["iteration"] == 7
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert load(tmp_path / "model_best.pth")["best"] == {"metric": "bbox/AP", "value": 2.0, "iteration": 3}
    assert "bbox/AP was best after iteration 3 (2), and did not improve" in caplog.text
    assert "Exception" not in caplog.text


def test_the_log_of_the_last_iteration_is_complete(config, scripted, tmp_path):
    scripted(config(*EARLY), 2.0, 1.0, 1.0)
    assert list(logged(tmp_path, "total_loss")) == [1, 3, 5]
    assert list(logged(tmp_path, "images_per_second")) == [5]


def test_the_smallest_improvement(config, scripted):
    """Smaller ones do not count, together neither unless they exceed it."""
    trainer = scripted(config(*EARLY, "SOLVER.EARLY_STOPPING.MIN_DELTA", 1.0), 1.0, 1.8, 2.5, 2.6, 3.0)
    assert trainer.iter == 10


def test_nan_does_not_count(config, scripted, tmp_path, caplog):
    trainer = scripted(config(*EARLY), math.nan, 2.0, math.nan, 1.0, math.nan, 1.0)
    assert trainer.iter == 12
    assert "bbox/AP is nan" in caplog.text


def test_a_training_that_improves_is_not_ended(config, scripted):
    trainer = scripted(config(*EARLY, "SOLVER.MAX_ITER", 6), 1.0, 2.0, 3.0)
    assert trainer.iter == 6


def test_resumed_where_it_was_killed_before_the_end(config, scripted, tmp_path):
    """The last value is in the log only, and says that the training has ended."""
    often = (*EARLY, "SOLVER.CHECKPOINT_PERIOD", 2)
    scripted(config(*often), 3.0, 2.0, 1.0)
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000005.pth")
    assert scripted(config(*often), 0.0, resume=True).iter == 6
    final, last = load(tmp_path / "model_final.pth"), load(tmp_path / "model_0000005.pth")
    assert final["iteration"] == final["trainer"]["iteration"] == 5
    assert_same(final["model"], last["model"])


@pytest.mark.parametrize("killed_after_evaluation", [False, True])
def test_resumed(config, scripted, tmp_path, killed_after_evaluation):
    """The checkpoint holds the values before, and the log that of the evaluation after it was saved."""
    often = (*EARLY, "SOLVER.CHECKPOINT_PERIOD", 2)
    scripted(config(*often, "SOLVER.MAX_ITER", 6), 3.0, 2.0, 9.0)
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    values = [2.0] if killed_after_evaluation else [2.0, 2.0]
    if not killed_after_evaluation:  # without the value that was logged after the checkpoint
        lines = (tmp_path / "metrics.json").read_text().splitlines(keepends=True)
        (tmp_path / "metrics.json").write_text("".join(line for line in lines if json.loads(line)["iteration"] != 3))
    trainer = scripted(config(*often), *values, resume=True)
    assert trainer.iter == (6 if killed_after_evaluation else 8)
    assert load(tmp_path / "model_final.pth")["iteration"] == trainer.iter - 1


def test_resumed_after_the_end(config, scripted, tmp_path, caplog):
    """Nothing is trained, unless there is more patience."""
    scripted(config(*EARLY), 3.0, 2.0, 2.0)
    assert scripted(config(*EARLY), 5.0, resume=True).iter == 6
    assert "ended early, after iteration 5" in caplog.text
    assert "PATIENCE" in caplog.text
    more = scripted(config(*EARLY, EARLY[2], 3), 1.0, resume=True)
    assert more.iter == 8
    assert load(tmp_path / "model_final.pth")["iteration"] == 7


def test_expected_results_are_compared(config, scripted):
    """As at the end of any training, with the final evaluation."""
    rows = [["bbox", "AP", 4.0, 0.5]]
    assert scripted(config(*EARLY, "TEST.EXPECTED_RESULTS", rows), 5.0, 4.0, 4.2).iter == 6
    with pytest.raises(SystemExit):
        scripted(config(*EARLY, "TEST.EXPECTED_RESULTS", rows), 5.0, 4.0, 5.0)


class Ranked(LongTailTrainer):
    """The metrics are those of the main process, as in Detectron2."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {"bbox": {"AP": next(cls.values)}} if comm.is_main_process() else {}


def train_ranked(file, output):
    torch.set_num_threads(1)
    Ranked.values = iter([2.0, 1.0, 1.0])
    words = [*RANDOM_TRAINING, "SOLVER.STEPS", "()", "OUTPUT_DIR", output, *map(str, EARLY)]
    trainer = Ranked(load_config(str(file), words))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert comm.all_gather(trainer.iter) == [6, 6]


def test_two_processes_end_together(hooks_config, tmp_path):
    in_processes(2, tmp_path, train_ranked, str(hooks_config), str(tmp_path))
    assert load(tmp_path / "model_final.pth")["iteration"] == 5
    assert load(tmp_path / "model_best.pth")["best"]["iteration"] == 1


class Steps(TrainerBase):
    def run_step(self):
        pass


def end_early(output, is_lost):
    evaluated = []

    def evaluate():
        comm.synchronize()  # forever, unless all processes evaluate
        evaluated.append(trainer.iter)
        StoppableEvaluator.lost_files = is_lost and comm.is_main_process()
        return {"bbox": {"AP": 1.0}} if comm.is_main_process() else None

    trainer = Steps()
    early = EarlyStopping(2, Checkpointer(nn.Linear(1, 1), output), "bbox/AP", patience=1)
    trainer.register_hooks([EvalUnlessStopped(2, evaluate), early])
    with ends_early():
        trainer.train(0, 10)
    assert comm.all_gather(evaluated) == [[1, 3, 4] if is_lost else [1, 3]] * 2


@pytest.mark.parametrize("is_lost", [False, True])
def test_two_processes_repeat_an_evaluation_together(tmp_path, is_lost):
    """Only the main process has metrics, and loses files; whether they evaluate at the end is the same for both."""
    in_processes(2, tmp_path, end_early, str(tmp_path), is_lost)


def test_a_lazy_config(config, tmp_path, caplog):
    """With real evaluations, of which none is repeated at the end, nor the validation loss."""
    config()
    words = ["train.best_checkpoint.metric=bbox/AP", "train.early_stopping.patience=1", "train.max_iter=40"]
    trainer = equip(lazy_config(tmp_path, *words, "train.early_stopping.min_delta=100.0", "train.val_loss=True"))
    trainer.resume_or_load(resume=False)
    with caplog.at_level("INFO"):
        trainer.train()
    assert trainer.trainer.iter == 4
    assert load(tmp_path / "model_final.pth")["iteration"] == 3
    assert caplog.text.count("Loss on the test set") == 2
    for name in ("bbox/AP", "val_total_loss"):
        found = logged(tmp_path, name)
        assert list(found) == [1, 3, 4]
        assert found[3] == found[4]
    evaluation = read_evaluation(tmp_path / "inference" / "hooks_val" / "evaluation.json")
    assert evaluation.tasks["bbox"].metrics["AP"] == pytest.approx(logged(tmp_path, "bbox/AP")[4])


def test_an_evaluation_without_files_is_repeated(config, small_disk, tmp_path, caplog):
    """A full disk has cost those of the evaluation that ends the training; at the end there is space again."""
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "hooks_val").symlink_to(small_disk)

    class Trainer(LongTailTrainer):
        def before_step(self):
            if self.iter == 2:
                (small_disk / "evaluation.json").unlink()  # that of the evaluation before
                (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free))
            elif self.iter == 4:
                (small_disk / "other").unlink()
            super().before_step()

    words = (EARLY[2], 1, "SOLVER.EARLY_STOPPING.MIN_DELTA", 100.0, "TEST.DETECTIONS_PER_IMAGE", 5)
    trainer = Trainer(config(*EARLY, *words))
    trainer.resume_or_load(resume=False)
    with caplog.at_level("INFO"):
        trainer.train()
    assert trainer.iter == 4
    assert caplog.text.count("not written to files") == 1
    evaluation = read_evaluation(small_disk / "evaluation.json")
    assert evaluation.tasks["bbox"].metrics["AP"] == pytest.approx(logged(tmp_path, "bbox/AP")[4])


class Plain(DefaultTrainer):
    """A user's own trainer, without equip."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {"bbox": {"AP": next(cls.values)}}


def test_a_users_own_trainer(config, tmp_path):
    """With Detectron2's own hooks and checkpointer, by the two lines of the documentation."""
    Plain.values = iter([2.0, 1.0, 1.0, 0.0])
    cfg = config(*EARLY)
    cfg.SOLVER.BEST_CHECKPOINT.METRIC = ""
    trainer = Plain(cfg)
    trainer.register_hooks([EarlyStopping(cfg.TEST.EVAL_PERIOD, trainer.checkpointer, "bbox/AP", patience=2)])
    with ends_early():
        trainer.train()
    assert trainer.iter == 6
    assert next(Plain.values, None) is None  # the final evaluation, too
    assert load(tmp_path / "model_final.pth")["iteration"] == 5


def test_without_the_context(config):
    """The error says what is missing."""
    Plain.values = iter([2.0, 1.0, 1.0, 0.0])
    trainer = Plain(config("SOLVER.MAX_ITER", 40))
    trainer.register_hooks([EarlyStopping(2, trainer.checkpointer, "bbox/AP", patience=2)])
    with pytest.raises(BaseException, match="ends_early"):
        trainer.train()


def test_no_patience():
    with pytest.raises(LtDetError, match="patience 0"):
        EarlyStopping(2, None, "bbox/AP", patience=0)
