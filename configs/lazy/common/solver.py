"""SGD and Detectron2's multi-step schedules."""

import torch
from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import MultiStepParamScheduler

optimizer = L(torch.optim.SGD)(
    params=L(get_default_optimizer_params)(weight_decay_norm=0.0),  # params.model is set by the tool
    lr=0.02,
    momentum=0.9,
    weight_decay=1e-4,
)


def multi_step(steps, max_iter, warmup_iters=1000):
    """Divide the learning rate by 10 at each iteration of `steps`, after a linear warmup."""
    return L(WarmupParamScheduler)(
        scheduler=L(MultiStepParamScheduler)(
            values=[0.1**k for k in range(len(steps) + 1)],
            milestones=[*steps, max_iter],
        ),
        warmup_length=warmup_iters / max_iter,
        warmup_factor=0.001,
    )
