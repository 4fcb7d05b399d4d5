"""The data of a training: utterances with targets and frames, and notes on skipped ones."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from serctl.config import Workspace
from serctl.data.labels import LabelSet
from serctl.data.manifest import Manifest, Utterance
from serctl.data.manifest_file import read_manifest
from serctl.data.overlaps import describe_overlaps
from serctl.documents.run import AttributeScale
from serctl.encoding.failures import FAILURES
from serctl.encoding.features import (
    FeatureBranch,
    check_features,
    open_branches,
    speaker_sources,
)
from serctl.errors import ManifestError, MissingFeaturesError, count, first_few
from serctl.hashes import hash_document
from serctl.options import TrainOptions
from serctl.training.dataset import (
    NO_LABEL,
    FrameReader,
    UtteranceSet,
    build_set,
    count_votes,
    make_reader,
)
from serctl.training.speakers import (
    BY_SPEAKER,
    Moments,
    check_speakers,
    choose_by_speaker,
    describe_problem,
    make_speaker_readers,
    measure_corpus,
    pool_readers,
)

SMALL = "For a corpus of this size: --recipe small"


@dataclass(frozen=True, eq=False)
class TrainingCorpus:
    """The utterances of a training.

    Attributes:
        utterances: Utterances with a target. Folds are made of all of them, readable or not.
        train: Training utterances with a target and frames, sorted by id.
        dev: Labelled utterances that select the epoch; None if the last epoch is kept.
        labels: Classes of the whole manifest.
        branches: Stores of each branch.
        attributes: Mean and deviation of arousal, valence and dominance, for standardisation.
        moments: Statistics of the frames for standardisation per speaker; else ().
        speaker_sources: Utterances, speakers and sources that these statistics depend on.
        grouped: Whether a pooled model selects its regularisation by folds of speakers.
        skipped: Utterances of the training splits without a target or frames.
        notes: Notes for the user.
    """

    utterances: tuple[Utterance, ...]
    train: UtteranceSet
    dev: UtteranceSet | None
    labels: LabelSet
    branches: tuple[FeatureBranch, ...]
    attributes: AttributeScale | None
    moments: tuple[Moments, ...]
    speaker_sources: tuple[str, ...]
    grouped: bool
    skipped: int
    notes: tuple[str, ...]

    def hash_of(self, ids: frozenset[str]) -> str:
        """Return the hash of the training data of a model, given the ids it is trained on."""
        rows = []
        for data, chosen in ((self.train, ids), (self.dev, None)):
            for i, name in enumerate(data.ids if data else ()):
                if data and (chosen is None or name in chosen):
                    sources = [s.source_of(name) for b in self.branches for s in b.stores]
                    target = [round(float(share), 6) for share in data.targets[i]]
                    ratings = data.attributes[i].tolist() if self.attributes else []
                    group = [data.groups[i]] if self.grouped else []
                    rows.append(
                        [name, chosen is None, sources, target, *map(repr, ratings), *group]
                    )
        return hash_document([rows, self.speaker_sources] if self.moments else rows)


def prepare_corpus(workspace: Workspace, options: TrainOptions) -> TrainingCorpus:
    """Read manifest and stores and check them against each other.

    Raises:
        ManifestError: There is no training utterance, only one emotion, or no dev split to select
            the epoch.
        CacheError: Frames are missing or stale.
    """
    manifest = read_manifest(workspace.manifest)
    labels = manifest.label_set(workspace.label_order, options.neutral)
    limited = manifest.limit(options.limit)
    splits = tuple(options.fit_on.split("+"))
    candidates = limited.where(lambda row: row.split in splits)
    utterances = candidates.where(_has_target(options, labels))
    if not len(utterances):
        raise ManifestError(
            f"No utterance of {options.fit_on} has an emotion. The manifest has the splits "
            f"{', '.join(manifest.splits)}. {_advise(options, 'See: serctl manifest stats')}"
        )
    _check_emotions(utterances, options)
    dev = _select_dev(limited, options)
    given = {"speech": options.speech, "text": options.text}
    given["paralinguistic"] = options.paralinguistic
    branches = open_branches(workspace, given, options.recipe)
    unread, notes = check_features(workspace, branches, (*utterances, *dev))
    readable, dev = _leave_out(utterances, unread), _leave_out(dev, unread)
    plain = [make_reader(branch.stores) for branch in branches]
    readers, moments, why = _settle_readers(
        options.standardise_by, manifest, branches, plain, readable, labels
    )
    train = build_set(readable, readers, labels, soft_targets=_reads_votes(options))
    train, attributes = _standardise_attributes(train, options)
    return TrainingCorpus(
        utterances=utterances.utterances,
        train=train,
        dev=build_set(dev, readers, labels) if dev else None,
        labels=labels,
        branches=branches,
        attributes=attributes,
        moments=moments,
        speaker_sources=speaker_sources(manifest.utterances, branches) if moments else (),
        grouped=options.kind == "pooled" and not options.pooled_c,
        skipped=len(candidates) - len(readable),
        notes=(
            *manifest.notes,
            *notes,
            *why,
            *_describe_copies(manifest, branches),
            *describe_overlaps(manifest),
            *_describe(manifest, train, labels, options),
        ),
    )


def _settle_readers(
    standardise_by: str,
    manifest: Manifest,
    branches: Sequence[FeatureBranch],
    plain: list[FrameReader],
    rows: Sequence[Utterance],
    labels: LabelSet,
) -> tuple[list[FrameReader], tuple[Moments, ...], list[str]]:
    """Return the readers, the corpus statistics for standardisation per speaker, and notes.

    Raises:
        ManifestError: Standardisation per speaker is requested, but the speakers do not allow it.
    """
    if standardise_by == "corpus":
        return plain, (), []
    if standardise_by == "speaker":
        check_speakers(rows)
    rows = [row for row in rows if row.emotion]
    if standardise_by == "auto" and (problem := describe_problem(rows)):
        return plain, (), [f"Frames are standardised over the corpus: {problem}"]
    ids = [row.utterance_id for row in rows]
    moments = measure_corpus(branches, ids)
    readers = make_speaker_readers(branches, manifest.utterances, moments)
    if standardise_by == "speaker":
        return readers, moments, [BY_SPEAKER]
    tables = [build_set(rows, kind, labels) for kind in (plain, readers)]
    pooled = [pool_readers(table, branches) for table in tables]
    ordered = sorted(rows, key=lambda row: row.utterance_id)
    chosen, why = choose_by_speaker(ordered, pooled[0], pooled[1], tables[0].label_ids, len(labels))
    return (readers, moments, [why]) if chosen else (plain, (), [why])


def _reads_votes(options: TrainOptions) -> bool:
    """Whether the targets are raters' votes. Logistic regression is fitted on labels."""
    return options.soft_targets and options.kind != "pooled"


def _has_target(options: TrainOptions, labels: LabelSet) -> Callable[[Utterance], bool]:
    def has_target(row: Utterance) -> bool:
        return bool(row.emotion or (_reads_votes(options) and count_votes(row, labels).any()))

    return has_target


def _check_emotions(utterances: Manifest, options: TrainOptions) -> None:
    found = {row.emotion for row in utterances}
    if len(found) == 1 and not _reads_votes(options):
        raise ManifestError(
            f"All utterances of {options.fit_on} have the emotion '{found.pop()}', expected at "
            f"least two emotions. {_advise(options, 'See: serctl manifest stats')}"
        )


def _select_dev(manifest: Manifest, options: TrainOptions) -> tuple[Utterance, ...]:
    if options.fit_on == "train+dev":
        return ()
    dev = manifest.where(lambda row: row.split == "dev" and bool(row.emotion))
    if not len(dev) and options.select_by != "last" and options.kind != "pooled":
        raise ManifestError(
            "No labelled utterance in the split 'dev', which is needed to select the epoch. "
            + _advise(options, "Keep the last epoch instead: --select-by last")
        )
    return dev.utterances


def _advise(options: TrainOptions, usual: str) -> str:
    """Return what to do without such utterances: with ``--limit`` the manifest may have them."""
    return usual if options.limit is None else f"Use a larger --limit than {options.limit}."


def _leave_out(rows: Iterable[Utterance], unread: frozenset[str]) -> tuple[Utterance, ...]:
    rows = tuple(rows)
    kept = tuple(row for row in rows if row.utterance_id not in unread)
    if rows and not kept:
        raise MissingFeaturesError(
            f"None of the {len(rows)} utterances of {rows[0].split} could be read; see {FAILURES}."
        )
    return kept


def _standardise_attributes(
    train: UtteranceSet, options: TrainOptions
) -> tuple[UtteranceSet, AttributeScale | None]:
    if not options.attribute_weight:
        return train, None
    if np.isnan(train.attributes).all(axis=0).any():
        raise ManifestError(
            "--attribute-weight needs the columns arousal, valence and dominance in the manifest."
        )
    mean, deviation = np.nanmean(train.attributes, axis=0), np.nanstd(train.attributes, axis=0)
    deviation[deviation == 0] = 1.0
    scaled = ((train.attributes - mean) / deviation).astype(np.float32)
    scale = AttributeScale(mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))
    return replace(train, attributes=scaled), scale


def _describe_copies(manifest: Manifest, branches: Sequence[FeatureBranch]) -> list[str]:
    """Return a note on utterances of several splits whose audio files have the same bytes.

    The stores hold the hashes of the files. No file is read.
    """
    store = next((branch.stores[0] for branch in branches if branch.modality != "text"), None)
    if store is None:
        return []
    rows: dict[str, list[Utterance]] = {}
    for row in manifest:
        if row.utterance_id in store:
            rows.setdefault(store.source_of(row.utterance_id), []).append(row)
    copies = [same for same in rows.values() if len({row.split for row in same}) > 1]
    if not copies:
        return []
    pairs = [" = ".join(row.utterance_id for row in same) for same in copies]
    return [
        f"The same audio is in several splits {count(len(copies), 'time')} ({first_few(pairs)}). "
        f"See: serctl manifest check"
    ]


def _describe(
    manifest: Manifest, train: UtteranceSet, labels: LabelSet, options: TrainOptions
) -> list[str]:
    """Return notes on unusual data, for the user and for reports."""
    notes = []
    if leaks := manifest.leaking_speakers():
        notes.append(f"{len(leaks)} speakers are in more than one split ({first_few(leaks)}).")
    mass = train.targets.sum(axis=0)
    absent = [name for name, share in zip(labels.names, mass, strict=True) if not share]
    if absent:
        notes.append(f"No training utterance is {', '.join(absent)}: class weight 0.")
    if unvoted := int((train.label_ids == NO_LABEL).sum()):
        notes.append(f"{unvoted} utterances without a majority are trained on their votes.")
    if _reads_votes(options) and not _has_votes(manifest, train, labels):
        notes.append(
            "'soft_targets' has no effect: no training utterance has votes, expected columns "
            "votes_EMOTION in the manifest. The emotions are the targets."
        )
    steps = -(-len(train) // options.batch_size)
    if options.kind == "fusion" and steps * options.epochs * options.learning_rate < 0.01:
        is_small = Path(options.recipe).stem == "small"
        advice = "Raise --epochs or --learning-rate." if is_small else SMALL
        notes.append(
            f"An epoch has only {count(steps, 'step')}. At learning rate {options.learning_rate:g} "
            f"the network will learn little. {advice}"
        )
    return notes


def _has_votes(manifest: Manifest, train: UtteranceSet, labels: LabelSet) -> bool:
    ids = set(train.ids)
    return any(count_votes(row, labels).any() for row in manifest if row.utterance_id in ids)
