"""tools/lazyconfig_train_net.py on configs that are not built like ours (whole runs: tests/training/test_tools.py)."""

from detectron2.config import LazyCall as L

from lt_det.losses import EQLv2
from lt_det.modeling import LongTailPredictor, build_loss_for_data
from lt_det.training import load_lazy_config
from tests.helpers import REPOSITORY, load_tool


def test_counts_are_cached_wherever_they_are_made(tmp_path):
    """In a cascade, whose predictors are a list, and not in a loss that takes no data sets."""
    cfg = load_lazy_config(str(REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"))
    heads = cfg.model.roi_heads
    counting = L(build_loss_for_data)(name="eql", num_classes="${model.roi_heads.num_classes}", datasets=["a"])
    chosen = L(build_loss_for_data)(name="eql", num_classes=12, datasets=["a"], cache_dir="chosen")
    plain = L(EQLv2)(num_classes=12)
    heads.box_predictors = [L(LongTailPredictor)(loss=loss) for loss in (counting, chosen, plain)]
    del heads["box_predictor"]
    load_tool("lazyconfig_train_net").cache_counts(cfg, str(tmp_path))
    losses = [predictor.loss for predictor in heads.box_predictors]
    assert [loss.get("cache_dir") for loss in losses] == [str(tmp_path), "chosen", None]
    assert cfg.dataloader.evaluator.stats.cache_dir == str(tmp_path)
