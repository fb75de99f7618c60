"""State of losses: saved, resumed, and the same on two processes as on one with the joined batch."""

from pathlib import Path

import pytest
import torch

from lt_det.errors import LtDetError
from lt_det.losses import build_loss_without_stats

K = 5
with_state = pytest.mark.parametrize("name", ["eqlv2", "seesaw"])


def batches(num_logits, steps=3, n=8):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(n, num_logits, generator=generator), torch.randint(0, K + 1, (n,), generator=generator))
        for _ in range(steps)
    ]


def run(loss, steps, part=slice(None)):
    """Values and gradients of the logits, step by step."""
    result = []
    for logits, labels in steps:
        logits = logits[part].clone().requires_grad_()
        value = loss(logits, labels[part])
        value.backward()
        result.append((value.item(), logits.grad))
    return result


@with_state
def test_state_moves_only_in_training(name):
    loss = build_loss_without_stats(name, K)
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    assert before
    run(loss.eval(), batches(loss.num_logits))
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())
    run(loss.train(), batches(loss.num_logits))
    assert any(not torch.equal(before[key], value) for key, value in loss.state_dict().items())
    assert all(value.dtype == torch.float32 for value in loss.state_dict().values())


@with_state
def test_resumed_in_mid_training(name):
    undisturbed, first, second = (build_loss_without_stats(name, K) for _ in range(3))
    steps = batches(undisturbed.num_logits, steps=4)
    expected = run(undisturbed, steps)[2:]
    run(first, steps[:2])
    second.load_state_dict(first.state_dict())
    for (value, gradient), (other, other_gradient) in zip(run(second, steps[2:]), expected, strict=True):
        assert value == other
        assert torch.equal(gradient, other_gradient)


def work(rank, name, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/{name}", rank=rank, world_size=2)
    loss = build_loss_without_stats(name, K)
    steps = batches(loss.num_logits)
    half = len(steps[0][1]) // 2
    results = run(loss, steps, slice(rank * half, (rank + 1) * half))
    torch.save((loss.state_dict(), results), Path(folder) / f"{name}{rank}.pth")


@with_state
def test_two_processes_are_one_with_the_joined_batch(name, tmp_path):
    alone = build_loss_without_stats(name, K)
    expected = run(alone, batches(alone.num_logits))
    torch.multiprocessing.spawn(work, args=(name, str(tmp_path)), nprocs=2)
    (state, first), (other_state, second) = (torch.load(tmp_path / f"{name}{rank}.pth") for rank in (0, 1))
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(state[key], value)
        assert torch.equal(state[key], other_state[key])
    for step, (value, gradient) in enumerate(expected):
        # Detectron2 averages over processes: each divides by its own half of the RoIs.
        assert (first[step][0] + second[step][0]) / 2 == pytest.approx(value, rel=1e-5)
        joined = torch.cat([first[step][1], second[step][1]]) / 2
        torch.testing.assert_close(joined, gradient)


def measure(rank, world, folder):
    from lt_det.losses import InfluenceBalanced

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/ib", rank=rank, world_size=world)
    loss = InfluenceBalanced(K, instance_counts=[1, 10, 20, 50, 100])
    loss.progress = 0.0
    for logits, labels in batches(K + 1):
        part = slice(rank * 6, 6 + rank * 2)  # six RoIs here and two there
        loss(logits[part], labels[part], logits[part].abs())
    empty = slice(0, 0) if rank else slice(None)
    loss(logits[empty], labels[empty], logits[empty].abs())  # a process without RoIs keeps none waiting
    torch.save(loss.state_dict(), Path(folder) / f"ib{rank}.pth")


def test_ib_on_two_processes_is_ib_on_one(tmp_path):
    from lt_det.losses import InfluenceBalanced

    torch.multiprocessing.spawn(measure, args=(2, str(tmp_path)), nprocs=2)
    alone = InfluenceBalanced(K, instance_counts=[1, 10, 20, 50, 100])
    alone.progress = 0.0
    steps = batches(K + 1)
    for logits, labels in [*steps, steps[-1]]:
        alone(logits, labels, logits.abs())
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"ib{rank}.pth"), dict(alone.state_dict()))


def test_ib_without_a_phase_one():
    from lt_det.losses import InfluenceBalanced

    loss = InfluenceBalanced(K, instance_counts=[1, 10, 20, 50, 100], alpha="auto")
    loss.progress = 0.9
    with pytest.raises(LtDetError, match="begins without a phase 1 in which"):
        loss(torch.zeros(2, K + 1), torch.tensor([0, 1]), torch.ones(2, 3))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 1.0, 2.0])
def test_ib_focal_of_easy_rois_has_a_gradient(gamma):
    from lt_det.losses import InfluenceBalanced

    loss = InfluenceBalanced(K, instance_counts=[1, 10, 20, 50, 100], alpha=1.0, focal_gamma=gamma)
    loss.progress = 1.0
    logits = (40 * torch.eye(K + 1)[:3]).requires_grad_()
    loss(logits, torch.arange(3), torch.ones(3, 2)).backward()
    assert torch.isfinite(logits.grad).all()


def test_ib_measures_alpha_in_phase_one():
    """The value of the loss stays where it was when phase 2 begins."""
    from lt_det.losses import InfluenceBalanced

    loss = InfluenceBalanced(K, instance_counts=[1, 10, 20, 50, 100], start=0.5)
    loss.progress = 0.0
    features = torch.rand(8, 16, generator=torch.Generator().manual_seed(1))
    (logits, labels), *_ = batches(K + 1)
    for _ in range(5):
        before = loss(logits, labels, features)
    loss.progress = 0.5
    torch.testing.assert_close(loss(logits, labels, features), before)
