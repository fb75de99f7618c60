import pytest

from lt_det.bakeoff.fitting.schedule import Schedule, mean_phases


def steps_through(schedule, measure=lambda step: None):
    """(progress, factor) of each step."""
    seen = []
    while not schedule.done:
        seen.append((schedule.progress, schedule.factor))
        schedule.advance()
        value = measure(schedule.step)
        if value is not None:
            schedule.report(value)
    return seen


def test_three_phases_without_a_plateau():
    schedule = Schedule(100, gamma=0.1)
    seen = steps_through(schedule, measure=lambda step: step)  # always rising
    assert [progress for progress, _ in seen] == [step / 100 for step in range(100)]
    factors = [factor for _, factor in seen]
    assert factors == pytest.approx([1.0] * 70 + [0.1] * 20 + [0.01] * 10)
    assert schedule.phases == (70, 20, 10)
    assert schedule.progress == 1


def test_warmup_is_linear():
    factors = [factor for _, factor in steps_through(Schedule(100, warmup=10, warmup_factor=0.5))]
    assert factors[:11] == pytest.approx([0.5 + 0.05 * step for step in range(10)] + [1.0])


def test_a_plateau_begins_the_next_phase():
    schedule = Schedule(100)
    seen = steps_through(schedule, measure=lambda step: min(step, 10))  # rises for ten steps
    assert schedule.phases == (15, 5, 5)  # and five steps without a gain
    assert [progress for progress, _ in seen][14:16] == [0.14, 0.7]  # progress jumps, for losses with phases
    assert schedule.step == 25


def test_a_plateau_skips_no_phase_of_the_loss():
    schedule = Schedule(100)
    schedule.earliest_end = 0.5
    steps_through(schedule, measure=lambda step: 0.0)
    assert schedule.phases[0] == 55  # as if the measure began there


def test_phases_are_repeated():
    phases = (15, 5, 5)
    schedule = Schedule(100, phases=phases)
    seen = steps_through(schedule)
    assert schedule.phases == phases
    assert len(seen) == 25
    assert seen[15] == (0.7, pytest.approx(0.1))


def test_empty_phases():
    assert len(steps_through(Schedule(1))) == 1
    assert len(steps_through(Schedule(100, phases=(3, 0, 0)))) == 3


def test_mean_of_folds():
    assert mean_phases([(70, 20, 10), (50, 10, 10)]) == (60, 15, 10)
