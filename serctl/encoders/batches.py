"""Batches of utterances, as a pure function of sizes, independent of finished work."""

from collections.abc import Callable, Sequence


def plan_batches(
    sizes: Sequence[int], cost: Callable[[int], float], limit: float
) -> list[list[int]]:
    """Group utterances of similar size, longest first.

    A batch is padded to its longest utterance, so it costs ``len(batch) * cost(longest)``. The cost
    is at most ``limit``, except for a single larger utterance. The largest batch is first, so that
    a lack of memory shows at once.

    Args:
        sizes: Samples or tokens of each utterance.
        cost: Returns the cost of one utterance by size, without padding, monotonic in the size.
        limit: Maximum cost of a batch.

    Returns:
        Positions in ``sizes``, each once. Ties keep their order.
    """
    batches: list[list[int]] = []
    room = 0.0
    for position in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        if not batches or len(batches[-1]) >= room:
            room = limit // max(cost(sizes[position]), 1e-9)
            batches.append([])
        batches[-1].append(position)
    return batches
