"""Batches of an epoch, as a pure function of seed and epoch, so that training can be resumed.

Utterances of similar length share a batch to reduce padding. Batches are still random: windows of
batches are drawn at random, lengths are perturbed before sorting, and batches are shuffled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serctl.errors import ConfigError

Indices = NDArray[np.int64]
BatchBalance = Literal["off", "exact", "replacement", "sqrt"]

BLUR = 0.05
"""Lengths are multiplied by 1 ± BLUR before sorting, so that batches change between epochs."""


@dataclass(frozen=True)
class Sampler:
    """Draws the batches of an epoch.

    Args:
        lengths: Cost of each utterance in frames ``(N,)``.
        groups: Group of each utterance ``(N,)``. Balancing gives each group an equal share.
        batch_size: Maximum utterances in a batch.
        balance: ``off``: every utterance once. ``exact``: the same number of each group in every
            batch; every utterance of a group is drawn once before any is repeated.
            ``replacement``: drawn with replacement, with groups equal in expectation, as in the
            authors' code. ``sqrt``: the share of a group in an epoch is proportional to the square
            root of its size (Kang et al., ICLR 2020, arXiv 1910.09217, equation 1 with q = 1/2),
            between its own share and an equal one.
        window: Number of batches that are sorted by length together; 1 is off.
        seed: Seed of the whole run.
    """

    lengths: NDArray[np.int64]
    groups: NDArray[np.int64]
    batch_size: int
    balance: BatchBalance = "off"
    window: int = 64
    seed: int = 0

    def batches(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch, N draws in all (``exact`` drops an incomplete batch)."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.balance == "exact":
            batches = self._balanced_batches(rng)
        else:
            batches = list(self._cut_sorted(self._draw(rng), self.batch_size, rng))
        return [batches[i] for i in rng.permutation(len(batches))]

    def _draw(self, rng: np.random.Generator) -> Indices:
        size = len(self.groups)
        if self.balance == "off":
            return rng.permutation(size)
        if self.balance == "sqrt":
            pools = [np.flatnonzero(self.groups == group) for group in np.unique(self.groups)]
            shares = _share_by_root([len(pool) for pool in pools])
            draws = [_repeat(pool, share, rng) for pool, share in zip(pools, shares, strict=True)]
            return rng.permutation(np.concatenate(draws))
        _, index, counts = np.unique(self.groups, return_inverse=True, return_counts=True)
        weights = 1 / counts[index]  # (N,): every group is as likely as the others
        return rng.choice(size, size, p=weights / weights.sum())

    def _balanced_batches(self, rng: np.random.Generator) -> list[Indices]:
        pools = [np.flatnonzero(self.groups == group) for group in np.unique(self.groups)]
        check_balance(len(pools), self.batch_size)
        share = self.batch_size // len(pools)
        draws = [_repeat(pool, len(self.groups) // len(pools), rng) for pool in pools]
        parts = [self._cut_sorted(draw, share, rng) for draw in draws]
        return [np.concatenate(batch) for batch in zip(*parts, strict=True)]

    def _cut_sorted(self, draws: Indices, size: int, rng: np.random.Generator) -> Iterator[Indices]:
        """Cut draws into batches, sorted by length within each window of batches."""
        batches = _cut(draws, size)
        for window in _cut(np.arange(len(batches)), self.window):
            group = [batches[i] for i in window]
            ends = np.cumsum([len(batch) for batch in group])
            yield from np.split(self._sort(np.concatenate(group), rng), ends[:-1])

    def _sort(self, indices: Indices, rng: np.random.Generator) -> Indices:
        if self.window == 1:
            return indices
        # With exact sorting, the same utterances would share a batch in every epoch.
        blur = rng.uniform(1 - BLUR, 1 + BLUR, len(indices))
        return indices[np.argsort(self.lengths[indices] * blur, kind="stable")]


def check_balance(num_groups: int, batch_size: int) -> None:
    """Check that batches can be balanced exactly.

    Raises:
        ConfigError: There is only one group, or the batch size is not a multiple of the number.
    """
    if num_groups < 2:
        raise ConfigError(
            "Balanced batches need neutral and expressive training utterances, but only one of the "
            "two groups exists. Use --balance off."
        )
    if batch_size % num_groups:
        raise ConfigError(
            f"--batch-size is {batch_size}, expected a multiple of {num_groups} for {num_groups} "
            f"groups of equal size."
        )


def split_batch(batch: Indices, lengths: NDArray[np.int64], parts: int) -> list[Indices]:
    """Divide a batch into parts of similar length, shortest first. Their gradients are summed."""
    ordered = batch[np.argsort(lengths[batch], kind="stable")]
    return [part for part in np.array_split(ordered, min(parts, len(batch))) if len(part)]


def _cut(indices: Indices, size: int) -> list[Indices]:
    """Divide into parts of equal size, at most ``size``, without a small last part."""
    return np.array_split(indices, -(-len(indices) // size)) if len(indices) else []


def _share_by_root(sizes: Sequence[int]) -> list[int]:
    """Return the number of draws of each group by square root, with the same total."""
    roots = np.sqrt(sizes)
    ends = np.round(np.cumsum(roots) / roots.sum() * sum(sizes)).astype(int)
    return np.diff(ends, prepend=0).tolist()


def _repeat(pool: Indices, count: int, rng: np.random.Generator) -> Indices:
    """Draw ``count`` items: complete shuffles of the pool, and a part of the last one."""
    shuffles: Sequence[Indices] = [rng.permutation(pool) for _ in range(-(-count // len(pool)))]
    return np.concatenate(shuffles)[:count]
