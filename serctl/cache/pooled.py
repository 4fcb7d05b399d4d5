"""Mean and standard deviation of each utterance's frames, computed once and cached."""

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.cache.store import FeatureStore
from serctl.files import write_binary
from serctl.progress import Progress, silent


def pool_frames(
    store: FeatureStore, ids: Sequence[str], progress: Progress = silent
) -> NDArray[np.float32]:
    """Return mean and deviation over time of each utterance's frames, ``(N, 2·D)``.

    They are cached in the folder ``pooled/``, to which new utterances are added. Utterances whose
    audio or text has changed are computed again.

    Args:
        store: Store of the frames.
        ids: N utterances of the store.
        progress: Reports every utterance.

    Raises:
        MissingFeaturesError: An utterance has no frames.
    """
    kept = find_pooled(Path(store.path))
    known = _read(kept)
    wanted = [(name, store.source_of(name)) for name in ids]
    missing = [pair for pair in wanted if pair not in known]
    if missing:
        with progress.task(f"pooling {store.key.encoder}", len(missing), "utterances") as advance:
            for name, source in missing:
                known[name, source] = pool_utterance(np.asarray(store.read(name), dtype=np.float32))
                advance()
        _write(kept, known)
    return np.stack([known[pair] for pair in wanted])


def find_pooled(store: Path) -> Path:
    """Return the file of a store's pooled frames."""
    return store.parent / "pooled" / f"{store.stem}.npz"


def pool_utterance(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean and deviation of frames ``(T, D)`` as one vector ``(2·D,)``; zeros if T is 0."""
    if not len(frames):
        return np.zeros(2 * frames.shape[1], dtype=np.float32)
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def _read(path: Path) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Return (utterance, source) → vector; {} if the file is missing or damaged."""
    harm = (OSError, ValueError, KeyError, zipfile.BadZipFile)
    with suppress(*harm), np.load(path, allow_pickle=False) as kept:
        names = zip(kept["ids"].tolist(), kept["sources"].tolist(), strict=True)
        return dict(zip(names, kept["values"], strict=True))
    return {}


def _write(path: Path, known: dict[tuple[str, str], NDArray[np.float32]]) -> None:
    ids, sources = zip(*known, strict=True)
    with write_binary(path) as file:
        np.savez(file, ids=ids, sources=sources, values=np.stack(list(known.values())))
