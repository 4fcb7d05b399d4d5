"""Table of utterances for training: lengths of their frames, targets, attributes.

Rows are sorted by utterance id, so the order of the manifest has no effect. Shape letters: N
utterances, M branches, C classes, L layers of an encoder.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serctl.data.folds import group_by_speaker
from serctl.data.labels import LabelSet
from serctl.data.manifest import Utterance

NO_LABEL = -1


class FrameReader(Protocol):
    """Protocol for the frames of a branch; see `serctl.cache.store.FeatureStore`."""

    num_layers: int

    @property
    def dim(self) -> int: ...  # noqa: D102

    @property
    def dtype(self) -> np.dtype: ...  # noqa: D102

    def num_frames(self, ids: Sequence[str]) -> NDArray[np.int64]: ...  # noqa: D102

    def prefetch(self, ids: Sequence[str]) -> None: ...  # noqa: D102

    def read_batch(self, ids: Sequence[str], out: NDArray[Any]) -> None: ...  # noqa: D102


class LayerReader:
    """Reads several layers of one encoder, with a store for each: ``(B, L, T, D)``.

    Layers precede time, so that each store fills contiguous memory.
    """

    def __init__(self, layers: Sequence[FrameReader]) -> None:
        self.layers = tuple(layers)
        self.num_layers = len(layers)
        self.dim, self.dtype = layers[0].dim, layers[0].dtype

    def num_frames(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of frames of each utterance ``(B,)``, the same in every layer."""
        return self.layers[0].num_frames(ids)

    def prefetch(self, ids: Sequence[str]) -> None:
        """Prefetch utterances that will be read soon."""
        for reader in self.layers:
            reader.prefetch(ids)

    def read_batch(self, ids: Sequence[str], out: NDArray[Any]) -> None:
        """Fill ``out[b, l, :T_b]``."""
        for layer, reader in enumerate(self.layers):
            reader.read_batch(ids, out[:, layer])


class FramesInMemory:
    """Reads frames that are in memory, by utterance id."""

    num_layers = 1

    def __init__(self, frames: Mapping[str, NDArray[np.generic]]) -> None:
        self._frames = frames
        first = next(iter(frames.values()))
        self.dim, self.dtype = first.shape[1], first.dtype

    def num_frames(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of frames of each utterance ``(B,)``."""
        return np.array([len(self._frames[name]) for name in ids], dtype=np.int64)

    def prefetch(self, ids: Sequence[str]) -> None:
        """Do nothing: the frames are in memory."""

    def read_batch(self, ids: Sequence[str], out: NDArray[np.generic]) -> None:
        """Fill ``out[b, :T_b]``."""
        for row, name in zip(out, ids, strict=True):
            row[: len(self._frames[name])] = self._frames[name]


def make_reader(layers: Sequence[FrameReader]) -> FrameReader:
    """Return the reader of a branch: its store, or a `LayerReader` for several layers."""
    return layers[0] if len(layers) == 1 else LayerReader(layers)


def shape_batch(reader: FrameReader, size: int, num_frames: int) -> tuple[int, ...]:
    """Return ``(B, T, D)``, or ``(B, L, T, D)`` for several layers."""
    layers = () if reader.num_layers == 1 else (reader.num_layers,)
    return (size, *layers, num_frames, reader.dim)


@dataclass(frozen=True, eq=False)
class UtteranceSet:
    """A table of utterances for training.

    Attributes:
        ids: N utterance ids, sorted.
        readers: M stores of frames, one per branch.
        lengths: ``(N, M)`` number of frames.
        label_ids: ``(N,)``, `NO_LABEL` without a majority or label.
        targets: ``(N, C)`` float32: one-hot, or the raters' distribution; zeros without both.
        neutral: ``(N,)`` bool: the largest target is neutral.
        attributes: ``(N, 3)`` float32 arousal, valence, dominance; NaN where not given.
        groups: N names of speakers, or of recordings if the speaker is unknown.
    """

    ids: tuple[str, ...]
    readers: tuple[FrameReader, ...]
    lengths: NDArray[np.int64]
    label_ids: NDArray[np.int64]
    targets: NDArray[np.float32]
    neutral: NDArray[np.bool_]
    attributes: NDArray[np.float32]
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def costs(self) -> NDArray[np.int64]:
        """Frames of all branches together ``(N,)``, a measure of the cost of an utterance."""
        return self.lengths.sum(axis=1)

    def usable(self) -> NDArray[np.int64]:
        """Return the rows that have a target."""
        return np.flatnonzero(self.targets.any(axis=1))

    def take(self, rows: NDArray[np.int64]) -> "UtteranceSet":
        """Return the table with the given rows ``(N',)``."""
        return UtteranceSet(
            tuple(self.ids[i] for i in rows),
            self.readers,
            self.lengths[rows],
            self.label_ids[rows],
            self.targets[rows],
            self.neutral[rows],
            self.attributes[rows],
            tuple(self.groups[i] for i in rows) if self.groups else (),
        )


def build_set(
    utterances: Iterable[Utterance],
    readers: Sequence[FrameReader],
    labels: LabelSet,
    *,
    soft_targets: bool = False,
) -> UtteranceSet:
    """Return the table of utterances for training.

    Args:
        utterances: Utterances in any order.
        readers: One store per branch, which holds all utterances.
        labels: Classes in the order of the network's outputs.
        soft_targets: Use the raters' votes as targets if there are any. Utterances without a
            majority then have a target too.
    """
    rows = sorted(utterances, key=lambda row: row.utterance_id)
    ids = tuple(row.utterance_id for row in rows)
    targets = np.stack([make_target(row, labels, soft=soft_targets) for row in rows])
    return UtteranceSet(
        ids=ids,
        readers=tuple(readers),
        lengths=np.stack([reader.num_frames(ids) for reader in readers], axis=1),
        label_ids=np.array(
            [labels.id_of(row.emotion) if row.emotion else NO_LABEL for row in rows]
        ),
        targets=targets,
        neutral=_most_likely(targets, labels) == labels.neutral,
        attributes=np.array([row.attributes() for row in rows], dtype=np.float32),
        groups=tuple(group_by_speaker(rows)),
    )


def make_target(row: Utterance, labels: LabelSet, *, soft: bool) -> NDArray[np.float32]:
    """Return the target ``(C,)``: the votes' distribution, or one-hot; zeros without a label."""
    target = count_votes(row, labels) if soft else np.zeros(len(labels), dtype=np.float32)
    if target.any():
        return target / target.sum()
    if row.emotion:
        target[labels.id_of(row.emotion)] = 1.0
    return target


def count_votes(row: Utterance, labels: LabelSet) -> NDArray[np.float32]:
    """Return the raters' votes for each label ``(C,)``."""
    votes = row.votes()
    return np.array([votes.get(name, 0.0) for name in labels.names], dtype=np.float32)


def measure_frames(data: UtteranceSet, branch: int) -> tuple[NDArray, NDArray]:
    """Return mean and standard deviation over all frames of one branch, in float64.

    Their shape is ``(D,)``, or ``(L, D)`` for several layers.
    """
    total: NDArray | float = 0.0
    squares: NDArray | float = 0.0
    for frames in read_each(data, branch):
        total += frames.sum(axis=-2, dtype=np.float64)
        squares += np.square(frames, dtype=np.float64).sum(axis=-2)
    # E[x²] - E[x]² in float64: one pass over frames that may not fit into memory.
    count = data.lengths[:, branch].sum()
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0.0))


def read_each(data: UtteranceSet, branch: int) -> Iterator[NDArray]:
    """Yield the frames of each utterance in one branch, ``(T, D)`` or ``(L, T, D)``."""
    reader = data.readers[branch]
    for name, length in zip(data.ids, data.lengths[:, branch], strict=True):
        frames = np.zeros(shape_batch(reader, 1, length), dtype=reader.dtype)
        reader.read_batch([name], frames)
        yield frames[0]


def _most_likely(targets: NDArray[np.float32], labels: LabelSet) -> NDArray[np.str_]:
    return np.where(targets.any(axis=1), np.array(labels.names)[targets.argmax(axis=1)], "")
