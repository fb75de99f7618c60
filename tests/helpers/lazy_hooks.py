"""The LazyConfig of the trainings in tests/training/hooks."""

from lt_det.training import load_lazy_config
from tests.helpers import REPOSITORY


def lazy_config(output, *overrides):
    """Four iterations of two images, with an evaluation and a checkpoint after every second one."""
    words = [f"train.output_dir={output}", "model.roi_heads.num_classes=12", "train.max_iter=4", "train.eval_period=2"]
    words += ["dataloader.train.dataset.names=hooks_train", "dataloader.test.dataset.names=hooks_val"]
    words += ["dataloader.evaluator.stats.datasets=[hooks_train]", "dataloader.train.num_workers=0"]
    words += ["model.roi_heads.box_predictor.loss.datasets=[hooks_train]", "dataloader.train.total_batch_size=2"]
    words += ["dataloader.evaluator.draws=0", "dataloader.test.num_workers=0", "train.checkpointer.period=2"]
    return load_lazy_config(str(REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"), [*words, *overrides])
