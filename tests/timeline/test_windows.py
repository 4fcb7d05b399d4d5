"""Steps cover a recording once; every window is whole in one stretch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serctl.errors import UsageError
from serctl.timeline.windows import plan_stretches, plan_windows

sizes = st.integers(1, 400_000)
steps = st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.5])
factors = st.sampled_from([1.0, 1.5, 2.0, 4.0, 9.0])


@given(sizes, steps, factors)
def test_steps_cover_the_recording_without_gap_or_overlap(size, every, factor) -> None:
    found = plan_windows(size, every, every * factor)
    assert [step.start for step in found] == [0, *(step.stop for step in found[:-1])]
    assert found[-1].stop == size
    margin = round((every * factor - every) * 8000)
    for step in found:
        assert step.window_start == max(0, step.start - margin)
        assert step.window_stop <= size
        assert step.window_start <= step.start < step.stop <= step.window_stop


@given(sizes, steps, factors, st.sampled_from([16_000, 100_000, 480_000]))
def test_every_window_lies_in_one_stretch_of_bounded_length(size, every, factor, longest) -> None:
    found = plan_windows(size, every, every * factor)
    stretches = plan_stretches(found, longest)
    assert [i for stretch in stretches for i in stretch.steps] == list(range(len(found)))
    for stretch in stretches:
        assert stretch.stop - stretch.start <= longest or len(stretch.steps) == 1
        for i in stretch.steps:
            assert stretch.start <= found[i].window_start
            assert found[i].window_stop <= stretch.stop


def test_an_hour_is_read_little_more_than_once() -> None:
    found = plan_windows(3600 * 16_000, 1, 4)
    stretches = plan_stretches(found, 30 * 16_000)
    shared = sum(stretch.stop - stretch.start for stretch in stretches) / (3600 * 16_000)
    alone = sum(step.window_stop - step.window_start for step in found) / (3600 * 16_000)
    assert shared == pytest.approx(30 / 27, abs=0.01)
    assert alone == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize(("every", "window"), [(0.0, 4.0), (0.05, 4.0), (2.0, 1.0), (-1.0, 4.0)])
def test_a_step_that_cannot_be_is_reported(every: float, window: float) -> None:
    with pytest.raises(UsageError, match=f"{every:g}|{window:g}"):
        plan_windows(16_000, every, window)
