"""Which utterances are encoded together: a pure function of sizes, never of what is done."""

from collections.abc import Callable, Sequence


def plan_batches(
    sizes: Sequence[int], cost: Callable[[int], float], limit: float
) -> list[list[int]]:
    """Put utterances of like size together, longest first.

    A batch is padded to its longest utterance, so it costs ``len(batch) * cost(longest)``; it
    stays within ``limit`` unless it is one utterance that alone is larger. The largest batch
    comes first: if memory does not suffice, that is known at once.

    Args:
        sizes: Samples or tokens of each utterance.
        cost: What one utterance of a size costs, padding aside; does not fall with the size.
        limit: Greatest cost of a batch.

    Returns:
        Positions in ``sizes``, each once; ties keep their order.
    """
    batches: list[list[int]] = []
    room = 0.0
    for position in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        if not batches or len(batches[-1]) >= room:
            room = limit // max(cost(sizes[position]), 1e-9)
            batches.append([])
        batches[-1].append(position)
    return batches
