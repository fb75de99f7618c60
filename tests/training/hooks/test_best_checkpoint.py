"""model_best.pth: which evaluation it is of, and that a resumed training replaces it only by a better one."""

import math

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultTrainer

from lt_det.errors import LtDetError
from lt_det.training import BestCheckpoint, LongTailTrainer, equip
from tests.helpers import assert_same
from tests.helpers.lazy_hooks import lazy_config

BEST = ("SOLVER.BEST_CHECKPOINT.METRIC", "bbox/AP")


def load(file):
    return torch.load(file, weights_only=False)


def best_in(folder):
    return load(folder / "model_best.pth")["best"]


def names(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def test_the_best_evaluation(config, scripted, tmp_path):
    """Kept beside the others, which MAX_TO_KEEP counts, and from which --resume continues."""
    scripted(config(*BEST, "SOLVER.MAX_TO_KEEP", 1), 3.0, 1.0, 2.0)
    assert best_in(tmp_path) == {"metric": "bbox/AP", "value": 3.0, "iteration": 1}
    assert names(tmp_path) == ["model_0000005.pth", "model_best.pth", "model_final.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_it_is_the_checkpoint_of_that_iteration(config, scripted, tmp_path):
    scripted(config(*BEST), 1.0, 2.0, 1.5)
    best, same = load(tmp_path / "model_best.pth"), load(tmp_path / "model_0000003.pth")
    assert best["iteration"] == best["trainer"]["iteration"] == 3
    assert_same(best["model"], same["model"])
    assert_same(best["trainer"]["_trainer"], same["trainer"]["_trainer"])


def test_the_final_evaluation_counts(config, scripted, tmp_path):
    """And the checkpoint has the iteration of the last step, as model_final has."""
    trainer = scripted(config(*BEST), 1.0, 2.0, 3.0)
    assert trainer.iter == 6
    best, final = load(tmp_path / "model_best.pth"), load(tmp_path / "model_final.pth")
    assert best["best"]["iteration"] == best["iteration"] == 5
    assert best["trainer"]["iteration"] == final["trainer"]["iteration"] == 5
    assert_same(best["model"], final["model"])


def test_nan_is_never_the_best(config, scripted, tmp_path):
    scripted(config(*BEST), math.nan, 1.0, math.nan)
    assert best_in(tmp_path) == {"metric": "bbox/AP", "value": 1.0, "iteration": 3}


def test_resumed(config, scripted, tmp_path):
    """A worse value does not replace it, a better one does; also where the training was killed after the evaluation."""
    scripted(config(*BEST, "SOLVER.MAX_ITER", 4), 1.0, 5.0)
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")  # from before both evaluations
    scripted(config(*BEST), 4.0, 3.0, resume=True)
    assert best_in(tmp_path) == {"metric": "bbox/AP", "value": 5.0, "iteration": 3}
    scripted(config(*BEST, "SOLVER.MAX_ITER", 8), 6.0, resume=True)
    assert best_in(tmp_path) == {"metric": "bbox/AP", "value": 6.0, "iteration": 7}


def test_resumed_where_it_was_killed_in_the_final_evaluation(config, scripted, tmp_path):
    """Which is repeated, and is that of the last iteration."""
    words = (*BEST, "SOLVER.MAX_ITER", 4)
    scripted(config(*words), 1.0, 2.0)
    (tmp_path / "model_best.pth").unlink()
    scripted(config(*words), 2.0, resume=True)
    best, final = load(tmp_path / "model_best.pth"), load(tmp_path / "model_final.pth")
    assert best["best"] == {"metric": "bbox/AP", "value": 2.0, "iteration": 3}
    assert best["iteration"] == best["trainer"]["iteration"] == final["trainer"]["iteration"] == 3


def test_another_training_in_the_folder(config, scripted, tmp_path):
    """A training that starts from scratch does not compare with it."""
    scripted(config(*BEST), 7.0, 8.0, 9.0)
    scripted(config(*BEST), 1.0, 0.5, 0.5)
    assert best_in(tmp_path)["value"] == 1.0


def test_another_metric_after_resuming(config, scripted, tmp_path, caplog):
    scripted(config(*BEST, "SOLVER.MAX_ITER", 4), 9.0, 9.5)
    scripted(config(BEST[0], "bbox/bucket_mean"), 1.0, resume=True)
    assert best_in(tmp_path) == {"metric": "bbox/bucket_mean", "value": 1.5, "iteration": 5}
    assert "bbox/AP" in caplog.text


def test_a_corrupt_file_is_replaced(config, scripted, tmp_path, caplog):
    scripted(config(*BEST, "SOLVER.MAX_ITER", 4), 9.0, 9.5)
    (tmp_path / "model_best.pth").write_bytes(b"PK not a checkpoint")
    scripted(config(*BEST), 1.0, resume=True)
    assert best_in(tmp_path)["value"] == 1.0
    assert "model_best.pth" in caplog.text


def test_by_default_it_is_not_saved(config, scripted, tmp_path):
    scripted(config(), 1.0, 2.0, 3.0)
    assert "model_best.pth" not in names(tmp_path)


def test_a_lazy_config(config, tmp_path):
    """With the metrics of a real evaluation, by the mean of the buckets."""
    config()  # registers the datasets
    trainer = equip(lazy_config(tmp_path, "train.best_checkpoint.metric=bbox/bucket_mean", "train.val_loss=False"))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert best_in(tmp_path)["metric"] == "bbox/bucket_mean"


class Plain(DefaultTrainer):
    """A user's own trainer, without equip."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {"bbox": {"AP": next(cls.values)}}

    def build_hooks(self):
        best = BestCheckpoint(self.cfg.TEST.EVAL_PERIOD, self.checkpointer, "bbox/AP")
        return [*super().build_hooks(), best]


def test_a_users_own_trainer(config, tmp_path):
    """With Detectron2's own hooks and checkpointer. The key is not refused, because the hook applies it."""
    Plain.values = iter([1.0, 3.0, 2.0])
    trainer = Plain(config(*BEST))
    assert type(trainer.checkpointer) is DetectionCheckpointer
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert best_in(tmp_path) == {"metric": "bbox/AP", "value": 3.0, "iteration": 3}
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_evaluating_it_gives_its_value(config, tmp_path):
    """To the last bit."""
    cfg = config(*BEST)
    trainer = LongTailTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    weights = str(tmp_path / "model_best.pth")
    assert LongTailTrainer.evaluate(config("MODEL.WEIGHTS", weights))["bbox"]["AP"] == best_in(tmp_path)["value"]


def test_it_is_a_checkpoint_where_it_is_the_only_one(config, scripted, tmp_path, caplog):
    """As when the training was killed before the first period of checkpoints: it is resumed, not replaced silently."""
    words = (*BEST, "SOLVER.CHECKPOINT_PERIOD", 100)
    scripted(config(*words, "SOLVER.MAX_ITER", 4), 9.0, 1.0)
    for name in ("model_final.pth", "last_checkpoint"):
        (tmp_path / name).unlink()
    resumed = LongTailTrainer(config(*words))
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 2
    caplog.clear()
    LongTailTrainer(config(*words)).resume_or_load(resume=False)
    assert "model_best.pth" in caplog.text


@pytest.mark.parametrize("metric", ["hooks_val/bbox/AP", "hooks_val/val_total_loss", "segm/AP"])
def test_a_metric_of_another_name_is_refused_before_the_training(config, metric):
    """A single test set has no prefix."""
    with pytest.raises(LtDetError, match=f"is {metric}.*write one of (bbox/AP|val_total_loss)"):
        LongTailTrainer(config(BEST[0], metric, "TEST.VAL_LOSS", True))
