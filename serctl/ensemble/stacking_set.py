"""Rows to fit a stacker on. No base model was trained on these utterances.

``oof``: train; each utterance is predicted by the fold model that was not trained on its speaker.
``heldout``: the part of train that no base model was trained on.
``dev``: the dev split; predictions for dev then come from cross-fitting.
``in-sample``: train as predicted by models trained on it, as in the authors' code; on request.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from serctl.data.manifest import Manifest, Utterance
from serctl.documents.logits import name_source
from serctl.documents.run import PredictedBy
from serctl.documents.stacker import FittedOn
from serctl.ensemble.logits import JoinedLogits, Logits, join_logits
from serctl.ensemble.systems import System, check_columns, load_systems
from serctl.errors import LogitsError, first_few

StackOn = Literal["oof", "heldout", "dev", "in-sample"]
REMEDIES = {
    "oof": "Train with --folds 5 and export, or choose --stack-on heldout or dev.",
    "heldout": "Train with --heldout and export, or choose --stack-on oof or dev.",
    "dev": "Leave it out, or choose --stack-on oof.",
    "in-sample": "Export with --train-logits in-sample.",
}


@dataclass(frozen=True, eq=False)
class StackingSet:
    """The utterances that a stacker is fitted on, sorted by utterance id.

    Attributes:
        joined: Logits ``(N, M, C)``.
        targets: ``(N,)`` label ids.
        utterances: N rows of the manifest.
        stack_on: Type of the logits; see the module's docstring.
        hashes: Hash of the training of each base model.
        fold_hashes: Hashes of the fold models that predicted the rows, by base model.
        predicted_by: Models that must predict new rows, by base model; see `match_kind`.
        unread: Utterances that one of the base models could not read.
        notes: Excluded systems and utterances, and the reasons.
        limit: ``--limit`` of a dry run; None for all utterances.
        by_speaker: Whether a base model standardises per speaker.
        lost_emotions: Emotions that fold models of a base model were trained without.
        inputs: Hash of the logits of each base model.
    """

    joined: JoinedLogits
    targets: NDArray[np.intp]
    utterances: tuple[Utterance, ...]
    stack_on: StackOn
    hashes: Mapping[str, str]
    fold_hashes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    predicted_by: Mapping[str, PredictedBy] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    limit: int | None = None
    by_speaker: bool = False
    lost_emotions: frozenset[str] = frozenset()
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """The split of the rows."""
        return split_of(self.stack_on)

    def describe(self) -> FittedOn:
        """Return the record of these utterances for a saved stacker."""
        counts = np.bincount(self.targets, minlength=len(self.joined.labels)).tolist()
        return FittedOn(
            stack_on=self.stack_on,
            split=self.split,
            num_rows=len(self.targets),
            rows_per_class=dict(zip(self.joined.labels, counts, strict=True)),
            ids_hash=_digest("\n".join(self.joined.ids).encode()),
            inputs=dict(self.inputs),
            limit=self.limit,
            hashes=dict(self.hashes),
            fold_hashes=dict(self.fold_hashes),
            predicted_by=dict(self.predicted_by),
            # Remove ids in brackets: stackers are put into bundles, which must not name utterances.
            notes=tuple(re.sub(r" \([^()]*\)", "", note) for note in self.notes),
        )


def split_of(stack_on: StackOn) -> str:
    """Return the split of the rows."""
    return "dev" if stack_on == "dev" else "train"


def collect_stacking_set(
    systems: Sequence[System],
    manifest: Manifest,
    stack_on: StackOn,
    *,
    all_must_fit: bool,
    limit: int | None,
    labels: Iterable[str] = (),
) -> StackingSet:
    """Read and join the logits for fitting a stacker.

    Args:
        systems: Base models in the order of the stacker's input.
        manifest: Manifest with the labels.
        stack_on: See the module's docstring.
        all_must_fit: Raise an error for a system without such logits; else exclude it with a note.
        limit: Use only N utterances, balanced over emotions.
        labels: Emotions of the project, which the manifest may lack.

    Raises:
        LogitsError: No system has such logits, a required one has none, or they do not match.
    """
    labelled = manifest.select(split_of(stack_on)).where(lambda row: bool(row.emotion))
    ids = labelled.limit(limit).ids
    found, notes = load_systems(
        systems,
        lambda system: _permitted_rows(system, ids, stack_on),
        manifest,
        all_required=all_must_fit,
        if_none="No run has logits to stack. Run serctl train, then: serctl export-logits RUN",
    )
    check_columns(found, {*labels, *(row.emotion for row in manifest)})
    parts = [logits for _, logits in found]
    if not all_must_fit:
        parts, copies = _leave_out_copies(parts)
        notes += copies
    joined = join_logits(parts)
    unread = frozenset[str]().union(*(part.unread for part in parts)).intersection(ids)
    notes += _note_excluded(ids, joined.ids, unread, stack_on, parts)
    utterances = _match_labels(joined, labelled)
    return StackingSet(
        joined=joined,
        targets=np.array([joined.labels.index(row.emotion) for row in utterances], dtype=np.intp),
        utterances=utterances,
        stack_on=stack_on,
        hashes={part.name: hash_of(part) for part in parts},
        fold_hashes={one.name: made for one in parts if (made := one.provenance.fold_hashes)},
        predicted_by={part.name: kind for part in parts if (kind := match_kind(part, stack_on))},
        unread=unread,
        notes=tuple(notes),
        by_speaker=any(part.provenance.by_speaker for part in parts),
        lost_emotions=frozenset[str]().union(*(part.provenance.lost_emotions for part in parts)),
        inputs=list_inputs(parts),
        limit=min(filter(None, [limit, *(part.limit for part in parts)]), default=None),
    )


def _note_excluded(
    ids: Collection[str],
    fitted: Iterable[str],
    unread: frozenset[str],
    stack_on: StackOn,
    parts: Sequence[Logits],
) -> list[str]:
    """Return notes on labelled utterances that are not in the fit."""
    notes = []
    if unread:
        notes.append(
            f"{len(unread)} of {len(ids)} utterances are excluded from the fit, because a base "
            f"model could not read them ({first_few(sorted(unread))})."
        )
    lacking = sorted({*ids} - {*fitted} - unread)
    if lacking and stack_on in ("oof", "dev") and not any(part.limit for part in parts):
        notes.append(
            f"{len(lacking)} of {len(ids)} utterances of {split_of(stack_on)} are not in the fit: "
            f"they have no {name_source(stack_on)} logits ({first_few(lacking)})."
        )
    return notes


def _match_labels(joined: JoinedLogits, labelled: Manifest) -> tuple[Utterance, ...]:
    """Return the utterance of each row of the logits.

    Raises:
        LogitsError: An utterance has an emotion that no base model knows.
    """
    row_of = {row.utterance_id: row for row in labelled}
    utterances = tuple(row_of[name] for name in joined.ids)
    strange = {row.emotion for row in utterances} - set(joined.labels)
    if strange:
        raise LogitsError(
            f"The manifest has the emotions {first_few(sorted(strange))}, expected those of the "
            f"base models: {', '.join(joined.labels)}. Train them again on this manifest."
        )
    return utterances


def match_kind(rows: Logits, stack_on: StackOn) -> PredictedBy | None:
    """Return the model that must predict new rows for a stacker fitted on these rows.

    Out-of-fold rows are predicted by fold models, so their mean must predict other rows. The main
    model was trained on more utterances and is more confident, so its logits do not match those of
    the fit. No stacker is fitted on fold models without an emotion, so the main model predicts.
    Return None for systems that are not runs of serctl.
    """
    found = rows.provenance
    if stack_on == "oof" and found.stack_on == "oof" and not found.lost_emotions:
        return "folds"
    return found.predicted_by or ("main" if found.run_hash else None)


def hash_of(logits: Logits) -> str:
    """Return the hash of the run of the logits, or of the values of an outside system."""
    return logits.provenance.run_hash or _digest(logits.values.tobytes())


def _leave_out_copies(parts: Sequence[Logits]) -> tuple[list[Logits], list[str]]:
    """Return the logits of different trainings, and a note on each copy of a run.

    A copy would count twice in an average.
    """
    kept: dict[tuple[str, ...], Logits] = {}
    notes = []
    for part in parts:
        made = part.provenance
        training = (made.run_hash, *made.fold_hashes) if made.run_hash else (part.name,)
        first = kept.setdefault(training, part)
        if first is not part:
            notes.append(
                f"Left out: '{part.name}' is the same training as '{first.name}'. To stack both, "
                f"name them: serctl stack {first.name} {part.name}"
            )
    return list(kept.values()), notes


def list_inputs(parts: Sequence[Logits]) -> dict[str, str]:
    """Return the hash of the file of each model's logits."""
    return {part.name: part.provenance.csv_hash for part in parts if part.provenance.csv_hash}


def _permitted_rows(system: System, ids: Sequence[str], stack_on: StackOn) -> Logits:
    """Return the rows of one system that are suitable for fitting.

    Raises:
        LogitsError: There are none, or it is unknown which rows are in-sample.
    """
    logits = system.load(split_of(stack_on), ids)
    remedy = REMEDIES[stack_on]
    if logits is None:
        export = f"Run: serctl export-logits {system.name}, or: " if system.kind == "run" else ""
        raise LogitsError(
            f"'{system.name}' has no logits for the utterances of {split_of(stack_on)}. "
            f"{export}{remedy}"
        )
    if stack_on == "dev":
        if logits.in_sample.any():
            raise LogitsError(f"'{system.name}' was trained on utterances of dev. {remedy}")
        return logits
    if not logits.in_sample_known:
        raise LogitsError(
            f"'{system.name}' has no column in_sample, so it is not known which utterances of "
            "train its model was trained on. Add the column (1 or 0), or choose --stack-on dev."
        )
    made = logits.provenance.stack_on
    if made in get_args(StackOn) and made != stack_on:
        raise LogitsError(
            f"'{system.name}' has {name_source(made)} logits for train, not "
            f"{name_source(stack_on)}. {remedy}"
        )
    wanted = logits.in_sample == (stack_on == "in-sample")
    if not wanted.any():
        raise LogitsError(
            f"'{system.name}' has no {name_source(stack_on)} logits for train: its model was "
            f"{'not ' if stack_on == 'in-sample' else ''}trained on all of them. {remedy}"
        )
    return logits.select(name for name, good in zip(logits.ids, wanted, strict=True) if good)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
