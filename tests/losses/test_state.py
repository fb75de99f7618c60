"""State of losses: saved, resumed, and the same on several processes as on one with the joined batch."""

import numpy as np
import pytest
import torch

from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, InfluenceBalanced, build_loss
from lt_det.statistics.class_stats import ClassStats
from tests.helpers.gloo import in_processes

K = 5
COUNTS = np.array([1, 10, 20, 50, 100])
STATS = ClassStats(tuple("abcde"), COUNTS, COUNTS, 200, "test")
N = 12  # RoIs of a step, of all processes


def build(name):
    torch.manual_seed(0)  # some draw a starting state
    loss = build_loss(name, STATS)
    loss.progress = 0.0
    return loss


def batches(num_logits, steps=3):
    """Logits, labels and features; in the last step the second half of the RoIs is background."""
    generator = torch.Generator().manual_seed(0)
    labels = [torch.randint(0, K + 1, (N,), generator=generator) for _ in range(steps)]
    labels[-1][N // 2 :] = K
    return [
        (torch.randn(N, num_logits, generator=generator), of_step, torch.rand(N, 3, generator=generator))
        for of_step in labels
    ]


def run(loss, steps, shares=None):
    """Values and gradients of the logits, step by step; for a part of each step's RoIs if `shares` is given."""
    result = []
    for (logits, labels, features), part in zip(steps, shares or [slice(None)] * len(steps), strict=True):
        logits = logits[part].clone().requires_grad_()
        value = loss(logits, labels[part], features[part])
        value.backward()
        result.append((value.item(), logits.grad))
    return result


def moved(loss):
    before = {name: value.clone() for name, value in loss.named_buffers()}
    run(loss.train(), batches(loss.num_logits))
    return [name for name, value in loss.named_buffers() if not torch.equal(before[name], value)]


WITH_STATE = [name for name in sorted(LOSSES) if moved(build(name))]  # so that none is forgotten
with_state = pytest.mark.parametrize("name", WITH_STATE)


def test_there_are_losses_with_state():
    assert {"eqlv2", "ib", "seesaw"} <= set(WITH_STATE)


@with_state
def test_state_moves_only_in_training_and_is_saved(name):
    loss = build(name)
    before = {key: value.clone() for key, value in loss.named_buffers()}
    run(loss.eval(), batches(loss.num_logits))
    assert all(torch.equal(before[key], value) for key, value in loss.named_buffers())
    changed = moved(loss)
    assert set(changed) <= set(loss.state_dict())
    assert {loss.state_dict()[key].dtype for key in changed} == {torch.int64 if name == "seesaw" else torch.float32}


@with_state
def test_training_resumes_with_the_same_numbers(name):
    undisturbed, first, second = (build(name) for _ in range(3))
    steps = batches(undisturbed.num_logits, steps=4)
    expected = run(undisturbed, steps)[2:]
    run(first, steps[:2])
    second.load_state_dict(first.state_dict())
    for (value, gradient), (other, other_gradient) in zip(run(second, steps[2:]), expected, strict=True):
        assert value == other
        assert torch.equal(gradient, other_gradient)


SHARES = {  # RoIs of each process in each step: equal; unequal; none in one process, only background in another
    2: [(6, 6), (9, 3), (12, 0)],
    3: [(4, 4, 4), (9, 2, 1), (6, 0, 6)],
}


def share(size, rank):
    starts = [sum(of_step[:rank]) for of_step in SHARES[size]]
    return [slice(start, start + of_step[rank]) for start, of_step in zip(starts, SHARES[size], strict=True)]


def work(size, folder):
    rank = torch.distributed.get_rank()
    done = {}
    for name in WITH_STATE:
        loss = build(name)
        done[name] = run(loss, batches(loss.num_logits), share(size, rank)), loss.state_dict()
    torch.save(done, folder / f"{rank}.pth")


@pytest.mark.parametrize("size", SHARES)
def test_several_processes_equal_one_with_the_joined_batch(size, tmp_path):
    in_processes(size, tmp_path, work, size, tmp_path)
    done = [torch.load(tmp_path / f"{rank}.pth") for rank in range(size)]
    for name in WITH_STATE:
        alone = build(name)
        expected = run(alone, batches(alone.num_logits))
        states = [of_process[name][1] for of_process in done]
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(states[0][key], value)
            assert all(torch.equal(state[key], states[0][key]) for state in states)
        for step, (value, gradient) in enumerate(expected):
            parts = [of_process[name][0][step] for of_process in done]
            shares = [count / N for count in SHARES[size][step]]  # each divides by its own RoIs
            joined = sum(part * share for (part, _), share in zip(parts, shares, strict=True))
            assert joined == pytest.approx(value, rel=1e-5)
            gradients = torch.cat([part * share for (_, part), share in zip(parts, shares, strict=True)])
            torch.testing.assert_close(gradients, gradient)


def test_seesaw_counts_beyond_the_integers_of_float32():
    loss = build("seesaw")
    loss.seen.fill_(2**24)
    for _ in range(3):
        loss(torch.zeros(1, loss.num_logits), torch.tensor([1]))
    assert loss.seen.tolist() == [2**24, 2**24 + 3, *[2**24] * 3]


def test_seesaw_reads_the_float32_counts_of_older_checkpoints():
    loss, older = build("seesaw"), torch.tensor([0.0, 3.0, 70000.0, 2.0**24, 2.0**30])
    loss.load_state_dict({"seen": older})
    assert loss.seen.dtype == torch.int64
    assert loss.seen.tolist() == older.tolist()


def test_ib_without_a_phase_one():
    loss = InfluenceBalanced(K, instance_counts=[1, 10, 20, 50, 100], alpha="auto")
    loss.progress = 0.9
    with pytest.raises(LtDetError, match="begins without a phase 1 in which"):
        loss(torch.zeros(2, K + 1), torch.tensor([0, 1]), torch.ones(2, 3))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 1.0, 2.0])
def test_ib_focal_of_easy_rois_has_a_gradient(gamma):
    loss = InfluenceBalanced(K, instance_counts=[1, 10, 20, 50, 100], alpha=1.0, focal_gamma=gamma)
    loss.progress = 1.0
    logits = (40 * torch.eye(K + 1)[:3]).requires_grad_()
    loss(logits, torch.arange(3), torch.ones(3, 2)).backward()
    assert torch.isfinite(logits.grad).all()


def test_ib_measures_alpha_in_phase_one():
    """The value of the loss does not change when phase 2 begins."""
    loss = InfluenceBalanced(K, instance_counts=[1, 10, 20, 50, 100], start=0.5)
    loss.progress = 0.0
    features = torch.rand(N, 16, generator=torch.Generator().manual_seed(1))
    logits, labels, _ = batches(K + 1)[0]
    for _ in range(5):
        before = loss(logits, labels, features)
    loss.progress = 0.5
    torch.testing.assert_close(loss(logits, labels, features), before)


@with_state
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_state_survives_a_batch_that_overflows(name, bad):
    """Mixed precision skips the step of such a batch, and goes on training."""
    loss = build(name)
    first, second, third = batches(loss.num_logits)
    run(loss, [first])
    overflowed = second[0].clone()
    overflowed[0] = bad
    run(loss, [(overflowed, *second[1:])])
    assert all(value.isfinite().all() for value in loss.state_dict().values())
    (value, gradient), *_ = run(loss, [third])
    assert torch.tensor(value).isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@with_state
def test_state_keeps_its_precision_in_a_model_of_half_precision(name, dtype):
    """In float16, 4096 + 1 is 4096: the sums would stop growing."""
    plain, half = build(name), torch.nn.Sequential(build(name)).to(dtype)[0]
    assert {value.dtype for value in half.buffers()} == {value.dtype for value in plain.buffers()}
    steps = batches(plain.num_logits)
    run(plain, steps)
    run(half, steps)
    assert all(torch.equal(value, half.state_dict()[key]) for key, value in plain.state_dict().items())
    assert {value.dtype for value in half.double().buffers() if value.is_floating_point()} <= {torch.float64}
