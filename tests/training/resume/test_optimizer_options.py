"""What a resumed training says about options of the optimizer that the config has changed."""

import pytest
import torch
from detectron2.solver.build import get_default_optimizer_params

from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer, equip, load_config
from tests.helpers.configs import RANDOM_TRAINING


def trained(config, output, *overrides, kind=LongTailTrainer, resume=False):
    torch.set_num_threads(1)
    short = ("SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()", "TEST.EVAL_PERIOD", "0", "DATASETS.TEST", "()")
    cfg = load_config(str(config), [*RANDOM_TRAINING, *short, "OUTPUT_DIR", str(output), *overrides])
    trainer = kind(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


@pytest.fixture(scope="module")
def finished(sixty_config, tmp_path_factory):
    """The folder of a training of two iterations."""
    folder = tmp_path_factory.mktemp("finished")
    trained(sixty_config, folder).train()
    return folder


def test_options_that_the_checkpoint_replaces(sixty_config, finished, caplog):
    trainer = trained(sixty_config, finished, resume=True)
    assert "continues with the optimizer" not in caplog.text
    rate = trainer.optimizer.param_groups[0]["initial_lr"]
    changed = ("SOLVER.BASE_LR", str(rate / 4), "SOLVER.MOMENTUM", "0.5")
    trainer = trained(sixty_config, finished, *changed, resume=True)
    assert f"SOLVER.BASE_LR (LazyConfig: optimizer.lr) stays {rate:g} and not {rate / 4:g}" in caplog.text
    assert "SOLVER.MOMENTUM stays 0.9 and not 0.5" in caplog.text
    assert trainer.optimizer.param_groups[0]["initial_lr"] == rate


class WithAdamW(LongTailTrainer):
    @classmethod
    def build_optimizer(cls, cfg, model):
        solver = cfg.SOLVER
        groups = get_default_optimizer_params(model, base_lr=solver.BASE_LR, weight_decay_norm=solver.WEIGHT_DECAY_NORM)
        return torch.optim.AdamW(groups, lr=solver.BASE_LR)


class WithOneGroup(LongTailTrainer):
    @classmethod
    def build_optimizer(cls, cfg, model):
        return torch.optim.SGD(model.parameters(), lr=cfg.SOLVER.BASE_LR, momentum=0.9)


@pytest.mark.parametrize(("kind", "change"), [(WithAdamW, "another kind"), (WithOneGroup, "groups the weights")])
def test_another_optimizer(sixty_config, finished, kind, change):
    with pytest.raises(LtDetError, match=rf"model_final\.pth cannot be resumed: its optimizer .*{change}"):
        trained(sixty_config, finished, kind=equip(kind), resume=True)


def test_sgd_after_adam(sixty_config, tmp_path):
    """torch loads this state, and fails at the first step."""
    trained(sixty_config, tmp_path, kind=equip(WithAdamW)).train()
    with pytest.raises(LtDetError, match="another kind, without momentum"):
        trained(sixty_config, tmp_path, resume=True)
