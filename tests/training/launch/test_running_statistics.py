"""An evaluation in several processes sees the running statistics that the checkpoint holds."""

import torch
from detectron2.utils import comm
from torch import nn

from lt_det.training import LongTailTrainer, load_config, share_running_statistics
from tests.helpers.gloo import in_processes


def running_statistics(model_state):
    return {name: value for name, value in model_state.items() if name.endswith(("running_mean", "running_var"))}


class RecordingTrainer(LongTailTrainer):
    """Evaluates by writing down the running statistics of each process."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        state = model.module.state_dict()
        torch.save(running_statistics(state), f"{cfg.OUTPUT_DIR}/evaluated_by_{comm.get_rank()}.pth")
        return {}


def train(config, folder):
    overrides = {"SOLVER.MAX_ITER": 2, "SOLVER.STEPS": (), "DATASETS.TEST": (), "OUTPUT_DIR": folder, "SEED": 1}
    cfg = load_config(str(config), [str(word) for pair in overrides.items() for word in pair])
    trainer = RecordingTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()


def test_each_process_evaluates_what_the_checkpoint_holds(sixty_config, tmp_path):
    in_processes(2, tmp_path, train, sixty_config, tmp_path)
    saved = running_statistics(torch.load(tmp_path / "model_final.pth", weights_only=False)["model"])
    assert any(value.ne(0).any() for name, value in saved.items() if name.endswith("running_mean"))
    for rank in range(2):
        evaluated = torch.load(tmp_path / f"evaluated_by_{rank}.pth")
        assert evaluated.keys() == saved.keys()
        assert all(torch.equal(evaluated[name], saved[name]) for name in saved)


def share_those_of_some_layers(folder):
    rank = comm.get_rank()
    model = nn.Sequential(nn.BatchNorm2d(2), nn.SyncBatchNorm(2), nn.BatchNorm1d(2, track_running_stats=False))
    model.register_buffer("own", torch.zeros(1))
    for buffer in model.buffers():
        buffer.fill_(rank + 1)
    share_running_statistics(model)
    torch.save(dict(model.named_buffers()), folder / f"{rank}.pth")


def test_no_other_buffer_is_shared(tmp_path):
    in_processes(2, tmp_path, share_those_of_some_layers, tmp_path)
    for name, value in torch.load(tmp_path / "1.pth").items():
        assert value.eq(1 if "running" in name else 2).all(), name


def test_a_single_process_needs_no_group():
    share_running_statistics(nn.BatchNorm2d(2))
