"""The batch plan: a pure function of sizes and settings."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serctl.encoders.batches import plan_batches

sizes_and_limit = given(
    st.lists(st.integers(0, 500_000), max_size=60), st.floats(0.1, 200, allow_nan=False)
)


def seconds(size: int) -> float:
    return size / 16_000


@sizes_and_limit
def test_every_utterance_is_in_exactly_one_batch(sizes: list[int], limit: float) -> None:
    plan = plan_batches(sizes, seconds, limit)
    assert sorted(i for batch in plan for i in batch) == list(range(len(sizes)))


@sizes_and_limit
def test_a_padded_batch_stays_within_the_limit_unless_it_is_one_utterance(
    sizes: list[int], limit: float
) -> None:
    for batch in plan_batches(sizes, seconds, limit):
        padded = len(batch) * seconds(max(sizes[i] for i in batch))
        assert len(batch) == 1 or padded <= limit * (1 + 1e-9)


@sizes_and_limit
def test_no_batch_could_take_the_first_utterance_of_the_next(
    sizes: list[int], limit: float
) -> None:
    plan = plan_batches(sizes, seconds, limit)
    for batch, following in pairwise(plan):
        assert sizes[batch[-1]] >= sizes[following[0]]
        assert (len(batch) + 1) * seconds(sizes[batch[0]]) > limit * (1 - 1e-9)


@given(st.lists(st.integers(1, 50_000), min_size=1, max_size=30, unique=True), st.randoms())
def test_the_order_of_the_manifest_does_not_change_who_is_encoded_together(
    sizes: list[int], random: object
) -> None:
    shuffled = list(sizes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    groups = [
        [[given[i] for i in batch] for batch in plan_batches(given, seconds, 10)]
        for given in (sizes, shuffled)
    ]
    assert groups[0] == groups[1]
