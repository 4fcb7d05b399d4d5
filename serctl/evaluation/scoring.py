"""From the rows of a manifest and the answers of systems to scores and paired tests."""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from serctl.data.audio import SAMPLE_RATE, measure_samples
from serctl.data.folds import group_by_speaker
from serctl.data.manifest import Manifest, Utterance
from serctl.ensemble.logits import Logits
from serctl.errors import AudioError
from serctl.evaluation.trial import (
    SystemScore,
    Trial,
    duration_group,
    make_trial,
    score_system,
)
from serctl.metrics.paired import compare_paired, correct_holm
from serctl.options import EvaluateOptions
from serctl.progress import Progress

PROVENANCE = ("stacker", "stack_on", "cross_fitted", "base_models", "run_hash")
"""What a report keeps of the sidecar of a system's answers."""


def lay_out_trial(
    rows: Manifest,
    labels: tuple[str, ...],
    durations: Sequence[float],
    options: EvaluateOptions,
) -> Trial:
    """Return the labelled utterances of a split as a trial; ``durations`` are seconds or 0."""
    attributes = [row.attributes() or (np.nan,) * 3 for row in rows]
    return make_trial(
        labels,
        [labels.index(row.emotion) for row in rows],
        group_by_speaker(rows),
        groups={
            "speaker": [row.speaker for row in rows],
            "gender": [row.extra.get("gender", "").strip().lower() for row in rows],
            "duration": [duration_group(seconds) if seconds else "" for seconds in durations],
        },
        attributes=np.array(attributes, dtype=np.float64),
        per_class=options.per_class,
        num_subsets=options.subsets,
        num_resamples=options.resamples,
        seed=options.seed,
    )


def measure_duration(row: Utterance) -> float:
    """Return seconds: the manifest's, else the audio file's, else 0 (unknown)."""
    for name in ("duration", "duration_s"):
        with suppress(KeyError, ValueError):
            if 0 < (seconds := float(row.extra[name])) < np.inf:
                return seconds
    try:
        return measure_samples(row.path) / SAMPLE_RATE
    except AudioError:
        return 0.0


def score_systems(
    trial: Trial, systems: Sequence[tuple[str, Logits]], progress: Progress
) -> list[SystemScore]:
    """Judge systems ``(kind, answers)``.

    Raises:
        LogitsError: One has other labels than the trial.
    """
    scores = []
    with progress.task("scoring", len(systems)) as advance:
        for kind, answers in systems:
            ordered = answers.reorder(trial.labels)
            facts = answers.provenance.model_dump(include=set(PROVENANCE), exclude_unset=True)
            facts["num_in_sample"] = int(answers.in_sample.sum())
            facts |= {"assumed": answers.assumed} if answers.assumed else {}
            scores.append(
                score_system(
                    trial,
                    answers.name,
                    kind,
                    ordered.probabilities(),
                    attributes=answers.attributes,
                    facts=facts,
                )
            )
            advance()
    return scores


def compare_pairs(
    trial: Trial, scores: Sequence[SystemScore], *, has_pair: bool
) -> list[dict[str, Any]]:
    """Test the two named systems, or the best against every other one, the next best first.

    ``corrected_p`` is ``p_value`` corrected for the number of tests; the verdict rests on it.
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
        verdict = {"is_real": strict.is_real, "verdict": strict.verdict()}
        found.append(dataclasses.asdict(test) | {"corrected_p": p_value} | verdict)
    return found
