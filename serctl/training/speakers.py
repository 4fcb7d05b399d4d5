"""Standardisation per speaker: the decision, and the readers.

A reader maps the frames of each speaker to mean and deviation of the corpus. The network then
standardises with the statistics of the corpus as usual, so frames of an unknown speaker are not
changed by the reader.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.cache.pooled import pool_frames
from serctl.cache.speakers import SpeakerFrames, SpeakerMoments, combine_moments, measure_speakers
from serctl.cache.speakers import restate_speaker as restate
from serctl.cache.store import FeatureStore
from serctl.data.manifest import Utterance
from serctl.encoding.features import FeatureBranch
from serctl.ensemble.pooled import cross_validate
from serctl.errors import ManifestError
from serctl.models.build import Network
from serctl.models.mean import MeanModel
from serctl.training.dataset import FrameReader, UtteranceSet, make_reader

LEAST_VARIETY = 0.8
"""Minimum mean variety of emotions within a speaker, as a share of the corpus' variety. Measured on
EmoDB and RAVDESS with one to four emotions per speaker: standardisation loses 7 to 15 points of
macro-F1 at shares of 0 to 0.63, one point at 0.86, and gains 3 to 5 at 0.87 to 0.98."""
LEAST_UTTERANCES = 8
"""Minimum median of utterances per speaker for ``auto``."""
STRENGTH = 0.01
"""C of the logistic regressions that ``auto`` compares."""

BY_SPEAKER = (
    "Frames are standardised per speaker with all utterances of the speaker, including unlabelled "
    "ones of dev and test."
)

Moments = tuple[SpeakerMoments, ...]
"""Statistics of the frames of one branch, one for each of its layers."""


def measure_corpus(branches: Iterable[FeatureBranch], ids: Sequence[str]) -> tuple[Moments, ...]:
    """Return the statistics of the utterances' frames for each branch."""
    return tuple(
        tuple(
            combine_moments(pool_frames(store, ids), store.num_frames(ids))
            for store in branch.stores
        )
        for branch in branches
    )


def read_corpus_moments(model: Network, num_branches: int) -> tuple[Moments, ...]:
    """Return the corpus statistics in a trained network."""
    first = model.models[0] if isinstance(model, MeanModel) else model
    found = []
    for branch in range(num_branches):
        mean, deviation = (
            statistics.cpu().double().numpy() for statistics in first.frame_statistics(branch)
        )
        layers = zip(np.atleast_2d(mean), np.atleast_2d(deviation), strict=True)
        found.append(tuple(SpeakerMoments(m, d**2, 0) for m, d in layers))
    return tuple(found)


def stack_corpus_moments(moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and deviation, ``(D,)`` or ``(L, D)``, as a network stores them."""
    # (L, D), or (D,) of one layer: ``squeeze(())`` changes nothing.
    mean = np.stack([layer.mean for layer in moments]).squeeze(0 if len(moments) == 1 else ())
    deviation = np.sqrt(np.stack([layer.variance for layer in moments])).reshape(mean.shape)
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def make_speaker_readers(
    branches: Sequence[FeatureBranch],
    utterances: Sequence[Utterance],
    moments: Sequence[Moments],
) -> list[FrameReader]:
    """Return readers that standardise the frames of every speaker.

    Args:
        branches: Stores of each branch.
        utterances: All utterances of the manifest. All count for their speaker's statistics.
        moments: Statistics of the corpus for each branch and layer.
    """
    speaker_of = {row.utterance_id: row.speaker for row in utterances if row.speaker}

    def read(store: FeatureStore, corpus: SpeakerMoments) -> SpeakerFrames:
        ids = [name for name in speaker_of if name in store]
        pooled, lengths = pool_frames(store, ids), store.num_frames(ids)
        found = measure_speakers(pooled, lengths, [speaker_of[name] for name in ids])
        maps = {name: restate(speaker, corpus) for name, speaker in found.items()}
        return SpeakerFrames(store, speaker_of, maps)

    return [
        make_reader([read(*pair) for pair in zip(branch.stores, layers, strict=True)])
        for branch, layers in zip(branches, moments, strict=True)
    ]


def pool_readers(data: UtteranceSet, branches: Sequence[FeatureBranch]) -> NDArray[np.float32]:
    """Return the pooled frames ``(N, F)`` of a table's readers, from the cache if possible."""
    vectors = []
    for branch, reader in zip(branches, data.readers, strict=True):
        layers = getattr(reader, "layers", (reader,))
        for store, layer in zip(branch.stores, layers, strict=True):
            raw = pool_frames(store, data.ids)
            restated = isinstance(layer, SpeakerFrames)
            vectors.append(layer.restate_pooled(data.ids, raw) if restated else raw)
    return np.hstack(vectors)


def check_speakers(utterances: Sequence[Utterance]) -> None:
    """Check that standardisation per speaker is possible.

    Raises:
        ManifestError: Fewer than two speakers are named, or they have too few emotions.
    """
    if problem := describe_problem(utterances):
        raise ManifestError(
            f"--standardise-by speaker: {problem} Use --standardise-by corpus, or auto."
        )


def describe_problem(utterances: Sequence[Utterance]) -> str:
    """Return the reason against standardisation per speaker; '' if there is none."""
    emotions: dict[str, list[str]] = defaultdict(list)
    for row in utterances:
        if row.speaker and row.emotion:
            emotions[row.speaker].append(row.emotion)
    if len(emotions) < 2:
        return "the manifest names fewer than two speakers."
    own = float(np.mean([_measure_variety(found) for found in emotions.values()]))
    whole = _measure_variety([name for found in emotions.values() for name in found])
    if own < LEAST_VARIETY * whole:
        return (
            f"speakers have too few emotions. Two utterances of a speaker differ in emotion with "
            f"probability {own:.2f}, two of the corpus with {whole:.2f}."
        )
    return ""


def _measure_variety(emotions: Sequence[str]) -> float:
    """Return the Gini index: the probability that two utterances differ in emotion."""
    counts = np.array([*Counter(emotions).values()])
    return float(1 - np.sum((counts / counts.sum()) ** 2))


def choose_by_speaker(
    utterances: Sequence[Utterance],
    plain: NDArray[np.float32],
    restated: NDArray[np.float32],
    targets: NDArray[np.integer],
    num_classes: int,
) -> tuple[bool, str]:
    """Return whether standardisation per speaker improves macro-F1, and the reason.

    Logistic regression on both kinds of pooled frames is cross-validated over speakers of train.

    Args:
        utterances: N utterances of train in the order of the rows, without a `describe_problem`.
        plain: ``(N, F)`` pooled frames.
        restated: The same, standardised per speaker.
        targets: ``(N,)`` label ids.
        num_classes: C.
    """
    sizes = Counter(row.speaker for row in utterances)
    if "" in sizes or np.median([*sizes.values()]) < LEAST_UTTERANCES:
        return False, (
            "Frames are standardised over the corpus: some utterances have no speaker, or most "
            f"speakers have fewer than {LEAST_UTTERANCES}."
        )
    groups = [row.speaker for row in utterances]
    corpus, speaker = (
        cross_validate(vectors, targets, groups, num_classes, [STRENGTH])[0]
        for vectors in (plain, restated)
    )
    how = BY_SPEAKER if speaker > corpus else "Frames are standardised over the corpus."
    return speaker > corpus, (
        f"{how} Logistic regression on pooled frames, cross-validated on train: macro-F1 "
        f"{speaker:.3f} per speaker, {corpus:.3f} over the corpus."
    )
