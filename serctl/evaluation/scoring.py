"""Compute metrics and paired tests from a manifest and the predictions of systems."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from serctl.data.audio import SAMPLE_RATE, measure_samples
from serctl.data.folds import group_by_speaker
from serctl.data.manifest import Manifest, Utterance
from serctl.data.values import parse_gender
from serctl.documents.report import PairedResult, SystemFacts, SystemKind, SystemScore
from serctl.ensemble.logits import Logits
from serctl.errors import AudioError
from serctl.evaluation.trial import (
    Trial,
    duration_group,
    make_trial,
    score_system,
)
from serctl.metrics.paired import compare_paired, correct_holm
from serctl.options import EvaluateOptions
from serctl.progress import Progress

PROVENANCE = ("stacker", "stack_on", "cross_fitted", "base_models", "run_hash", "csv_hash")
"""Fields of the sidecar of logits that a report records."""


def lay_out_trial(
    rows: Manifest,
    labels: tuple[str, ...],
    durations: Sequence[float],
    options: EvaluateOptions,
) -> Trial:
    """Return the labelled utterances of a split as a trial. ``durations`` are seconds or 0."""
    return make_trial(
        labels,
        [labels.index(row.emotion) for row in rows],
        group_by_speaker(rows),
        groups={
            "speaker": [row.speaker for row in rows],
            "gender": [parse_gender(row.extra.get("gender", "")) for row in rows],
            "duration": [duration_group(seconds) if seconds else "" for seconds in durations],
        },
        attributes=np.array([row.attributes() for row in rows], dtype=np.float64),
        per_class=options.per_class,
        num_subsets=options.subsets,
        num_resamples=options.resamples,
        seed=options.seed,
    )


def measure_duration(row: Utterance) -> float:
    """Return the duration in seconds from the manifest, else from the audio file, else 0."""
    if seconds := row.duration():
        return seconds
    try:
        return measure_samples(row.path, row.start, row.end) / SAMPLE_RATE
    except AudioError:
        return 0.0


def score_systems(
    trial: Trial, systems: Sequence[tuple[SystemKind, Logits]], progress: Progress
) -> list[SystemScore]:
    """Evaluate systems, given as kind and logits.

    Raises:
        LogitsError: A system has other labels than the trial.
    """
    scores = []
    with progress.task("evaluate", len(systems), "systems") as advance:
        for kind, logits in systems:
            kept = logits.provenance.model_dump(include=set(PROVENANCE), exclude_unset=True)
            kept |= {"assumed": logits.assumed} if logits.assumed else {}
            facts = SystemFacts(**kept, num_in_sample=int(logits.in_sample.sum()))
            scores.append(
                score_system(
                    trial,
                    logits.name,
                    kind,
                    logits.reorder(trial.labels).probabilities(),
                    attributes=logits.attributes,
                    facts=facts,
                )
            )
            advance()
    return scores


def compare_pairs(
    trial: Trial, scores: Sequence[SystemScore], *, has_pair: bool
) -> list[PairedResult]:
    """Test the two named systems, or the best against every other one, in order of macro-F1.

    ``corrected_p`` is ``p_value`` corrected for the number of tests. The verdict depends on it.
    """
    ranked = sorted(scores, key=lambda score: -score.macro_f1)
    first, *others = scores[:2] if has_pair else ranked
    tests = [
        compare_paired(
            trial.resamples,
            trial.true,
            (first.name, first.predictions),
            (other.name, other.predictions),
            len(trial.labels),
        )
        for other in others
    ]
    found = []
    for test, p_value in zip(tests, correct_holm([t.p_value for t in tests]), strict=True):
        strict = dataclasses.replace(test, p_value=p_value)
        result = PairedResult(
            **dataclasses.asdict(test),
            corrected_p=p_value,
            is_real=strict.is_real,
            verdict=strict.verdict(),
        )
        found.append(result)
    return found
