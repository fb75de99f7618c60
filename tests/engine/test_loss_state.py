"""What losses know about the classes, in the log."""

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from lt_det.class_stats import ClassStats, FrequencyBuckets
from lt_det.engine.hooks import LogLossState
from lt_det.losses import EQLv2, InfluenceBalanced, Seesaw

COUNTS = np.array([3, 4, 50, 60, 1000, 2000])
STATS = ClassStats(tuple("abcdef"), COUNTS, COUNTS, 4000, "test")
BUCKETS = FrequencyBuckets.from_edges(STATS)


class Trainer:
    """A mock of Detectron2's, with the three attributes that the hook reads."""

    def __init__(self, storage):
        self.storage, self.iter, self.max_iter = storage, 19, 100


def logged(*losses):
    hook = LogLossState(nn.ModuleList(losses), BUCKETS)
    with EventStorage() as storage:
        hook.trainer = Trainer(storage)
        hook.after_step()
        hook.trainer.iter = 20
        storage.step()
        hook.after_step()  # between two looks
    assert all(iteration == 0 for _, iteration in storage.latest().values())
    return {name: value for name, (value, _) in storage.latest().items()}


def test_eqlv2s_gradient_ratio_by_bucket():
    loss = EQLv2(6)
    loss.positive_gradient.copy_(torch.tensor([1.0, 0.0, 4.0, 1.0, 9.0, 9.0]))
    loss.negative_gradient.copy_(torch.tensor([10.0, 0.0, 8.0, 1.0, 3.0, 9.0]))
    assert logged(loss) == pytest.approx(  # the second rare class has not been seen
        {
            "loss_state/gradient_ratio/rare": 0.1,
            "loss_state/gradient_ratio/common": 0.75,
            "loss_state/gradient_ratio/frequent": 2.0,
        }
    )


def test_nothing_is_logged_of_what_is_not_known():
    assert logged(EQLv2(6)) == {}


def test_a_cascade_logs_each_stage():
    first, second = Seesaw(6), Seesaw(6)
    second.seen += 2
    values = logged(first, second)
    assert values["loss_state/stage1/seen/rare"] == 0
    assert values["loss_state/stage2/seen/rare"] == 2


def test_a_scalar_is_logged_as_it_is():
    loss = InfluenceBalanced(6, instance_counts=COUNTS, alpha=3.0)
    assert logged(loss) == {"loss_state/alpha": 3.0}
