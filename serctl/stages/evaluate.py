"""`serctl evaluate`: metrics of systems and baselines, confidence intervals and paired tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from serctl.config import Workspace, options_to_dict
from serctl.data.manifest import Manifest
from serctl.data.manifest_file import read_manifest
from serctl.documents.report import (
    REPORT_VERSION,
    PairedResult,
    Report,
    SystemKind,
    SystemScore,
    SystemSummary,
    UtteranceColumns,
)
from serctl.ensemble.logits import Logits
from serctl.ensemble.systems import (
    System,
    check_columns,
    find_systems,
    list_systems,
    list_unexported,
    load_systems,
)
from serctl.errors import LogitsError, ManifestError, UsageError, first_few
from serctl.evaluation.baselines import make_baselines
from serctl.evaluation.markdown import to_markdown
from serctl.evaluation.notes import explain_metrics, list_warnings
from serctl.evaluation.scoring import compare_pairs, lay_out_trial, measure_duration, score_systems
from serctl.evaluation.submission import write_submission
from serctl.evaluation.trial import Trial
from serctl.files import write_atomic
from serctl.names import check_name, clean_name
from serctl.options import EvaluateOptions
from serctl.progress import Progress, silent
from serctl.training.changes import find_selected, list_changes

LONGEST = 90
"""Maximum bytes that the names of the systems take in the name of a report."""


@dataclass(frozen=True)
class EvaluateResult:
    """Result of `serctl evaluate`. The files hold all other metrics.

    ``table`` has one entry per system, in the order of the report. Confidence intervals resample
    ``num_clusters`` speakers.
    """

    split: str
    num_utterances: int
    table: tuple[SystemSummary, ...] = ()
    verdicts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    report: Path | None = None
    markdown: Path | None = None
    submission: Path | None = None
    num_clusters: int = 0


def evaluate(
    workspace: Workspace, options: EvaluateOptions, *, progress: Progress = silent
) -> EvaluateResult:
    """Evaluate runs, stackers and outside systems on one split and write the report.

    Without ``options.systems`` all runs and stackers with logits for the split are evaluated. Two
    systems are compared by a paired test. Utterances without an emotion are excluded and reported.
    ``options.submission`` writes only the challenge's CSV file of one system and needs no labels.

    Raises:
        ManifestError: No utterance of the split has an emotion.
        LogitsError: A system has no logits for the split, or other labels.
        UsageError: A submission is requested for more than one system, or ``limit`` leaves no
            utterance of the split.
    """
    whole = read_manifest(workspace.manifest)
    if options.submission:
        split, path, system = write_submission(workspace, whole, options)
        changes = tuple(list_changes(workspace, whole, [system], (split,)))
        size = len(whole.select(split))
        return EvaluateResult(split, size, warnings=changes, submission=path)
    split = options.split or choose_split(whole)
    manifest = whole.limit(options.limit)
    if split in whole.splits and split not in manifest.splits:
        raise UsageError(f"--limit is {options.limit}, which leaves no utterance of {split}.")
    rows, notes = _labelled_rows(manifest, split)
    found, missing = _read_systems(workspace, whole, options.systems, split, rows.ids)
    notes += missing if options.systems else (*missing, *list_unexported(workspace))
    rows, found, left_out = _leave_out_unread(rows, found)
    check_columns(found, {*workspace.label_order, *(row.emotion for row in whole)})
    order = manifest.label_set(workspace.label_order).names
    labels = _declared_labels(found, order, rows)
    notes += _note_other_emotions(labels, order, split)
    systems = [system for system, _ in found]
    stem = check_name(options.name or _report_name(split, systems, options))
    predicted: list[tuple[SystemKind, Logits]] = [(system.kind, logits) for system, logits in found]
    if options.baselines:
        baselines, missing = make_baselines(
            workspace, manifest, systems, rows.ids, labels, split, progress
        )
        predicted += [("baseline", logits) for logits in baselines]
        notes += missing
    durations = [measure_duration(row) for row in rows]
    trial = lay_out_trial(rows, labels, durations, options)
    scores = score_systems(trial, predicted, progress)
    tests = compare_pairs(trial, scores, has_pair=len(options.systems) == 2)
    dry = [f"Dry run: {options.limit} utterances, not all of {split}."] if options.limit else []
    warnings = (
        *dry,
        *left_out,
        *list_warnings(workspace, manifest, split, scores, trial),
        *(find_selected(workspace, rows.ids, systems) if split != "dev" else ()),
        *list_changes(workspace, whole, systems, (split,)),
    )
    notes += explain_metrics(scores, trial)
    report = _make_report(rows, trial, durations, split, options, scores, tests, warnings, notes)
    return _write(report, workspace.reports / stem, trial.resamples.num_clusters)


def choose_split(manifest: Manifest) -> str:
    """Return the first test split that has labels, else dev.

    Raises:
        ManifestError: The manifest has neither. Train is evaluated only if it is named.
    """
    for split in sorted(manifest.splits):
        if split.startswith("test") and any(row.emotion for row in manifest.select(split)):
            return split
    if "dev" not in manifest.splits:
        raise ManifestError(
            f"The manifest has no labelled test split and no dev, only "
            f"{', '.join(manifest.splits)}. For out-of-fold metrics of train: "
            f"serctl evaluate --split train"
        )
    return "dev"


def _labelled_rows(manifest: Manifest, split: str) -> tuple[Manifest, list[str]]:
    """Return the utterances with an emotion, and a note on those without one."""
    rows = manifest.select(split)
    unlabelled = [row.utterance_id for row in rows if not row.emotion]
    named = f"{len(unlabelled)} of {len(rows)} utterances of {split} have no emotion"
    named += f" ({first_few(unlabelled)})"
    if len(unlabelled) == len(rows):
        raise ManifestError(
            f"{named}, so metrics cannot be computed. For the challenge's CSV file: "
            f"serctl evaluate NAME --split {split} --submission FILE"
        )
    notes = [f"Left out: {named}."] if unlabelled else []
    return rows.where(lambda row: bool(row.emotion)), notes


def _read_systems(
    workspace: Workspace, manifest: Manifest, names: Sequence[str], split: str, ids: Sequence[str]
) -> tuple[list[tuple[System, Logits]], list[str]]:
    """Return systems with their logits, and notes on systems without the split."""
    return load_systems(
        find_systems(workspace, names) if names else list_systems(workspace),
        lambda system: system.load_all(split, ids),
        manifest,
        all_required=bool(names),
        if_none=f"No run or stacker has logits for '{split}'. Run: serctl export-logits RUN",
    )


def _leave_out_unread(
    rows: Manifest, found: list[tuple[System, Logits]]
) -> tuple[Manifest, list[tuple[System, Logits]], list[str]]:
    """Return the utterances that all systems could read, their logits, and a warning."""
    unread = {name for _, logits in found for name in logits.unread}.intersection(rows.ids)
    if not unread:
        return rows, found, []
    names = [system.name for system, logits in found if logits.unread & unread]
    warning = (
        f"{len(unread)} of {len(rows)} utterances of {rows.utterances[0].split} are left out "
        f"({first_few(sorted(unread))}): {first_few(names)} could not read them."
    )
    kept = rows.where(lambda row: row.utterance_id not in unread)
    if not len(kept):
        raise LogitsError(warning)
    return kept, [(system, logits.select(kept.ids)) for system, logits in found], [warning]


def _declared_labels(
    found: Sequence[tuple[System, Logits]], order: Sequence[str], rows: Manifest
) -> tuple[str, ...]:
    """Return the labels of the systems, from the first one that has scores."""
    system, logits = next((one for one in found if not one[1].hard_labels), found[0])
    if logits.hard_labels:  # a label that it never predicts is not in its file
        return tuple(dict.fromkeys((*order, *logits.labels)))
    labels = logits.labels
    ordered = tuple(name for name in order if name in labels)
    labels = ordered if len(ordered) == len(labels) else labels
    strange = {row.emotion for row in rows} - set(labels)
    if strange:
        remedy = (
            "Name its columns like the emotions of the manifest, one for each"
            if system.kind == "outside"
            else "Train on this manifest: serctl train"
        )
        raise LogitsError(
            f"The utterances have the emotions {first_few(sorted(strange))}, expected those of "
            f"'{logits.name}': {', '.join(labels)}. {remedy}"
        )
    return labels


def _note_other_emotions(labels: Sequence[str], order: Sequence[str], split: str) -> list[str]:
    """Return a note on emotions of the manifest that the metrics do not count."""
    others = [name for name in order if name not in labels]
    if not others:
        return []
    return [
        f"Metrics are means over {', '.join(labels)}. The manifest also has {', '.join(others)}: "
        f"no utterance of {split}, and no column of the systems."
    ]


def _make_report(
    rows: Manifest,
    trial: Trial,
    durations: Sequence[float],
    split: str,
    options: EvaluateOptions,
    scores: Sequence[SystemScore],
    tests: Sequence[PairedResult],
    warnings: Sequence[str],
    notes: Sequence[str],
) -> Report:
    """Return the document of an evaluation."""
    dry = ", dry run" if options.limit else ""
    return Report(
        serctl_report=REPORT_VERSION,
        title=f"Evaluation on {split}: {len(rows)} utterances{dry}",
        split=split,
        labels=trial.labels,
        counts={label: int((trial.true == i).sum()) for i, label in enumerate(trial.labels)},
        num_utterances=len(rows),
        num_speakers=len({row.speaker for row in rows if row.speaker}),
        options=options_to_dict(options),
        warnings=tuple(warnings),
        notes=tuple(notes),
        systems=tuple(scores),
        paired=tuple(tests),
        utterances=_list_columns(rows, trial, durations),
    )


def _list_columns(rows: Manifest, trial: Trial, durations: Sequence[float]) -> UtteranceColumns:
    has_segments = any(row.is_segment for row in rows)
    return UtteranceColumns(
        utterance_id=rows.ids,
        true=tuple(trial.true.tolist()),
        speaker=tuple(trial.groups["speaker"]),
        gender=tuple(trial.groups["gender"]),
        duration=tuple(round(seconds, 2) for seconds in durations),
        path=tuple(str(row.path) for row in rows),
        stretch=tuple((row.start, row.end) for row in rows) if has_segments else (),
        channel=tuple(row.channel for row in rows) if any(row.channel for row in rows) else (),
        transcript=tuple(row.transcript for row in rows),
    )


def _write(report: Report, stem: Path, num_clusters: int) -> EvaluateResult:
    """Write the report as JSON and as Markdown."""
    paths = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.md")
    report.write(paths[0])
    with write_atomic(paths[1]) as file:
        file.write(to_markdown(report))
    return EvaluateResult(
        split=report.split,
        num_utterances=report.num_utterances,
        table=tuple(score.summarise() for score in report.systems),
        verdicts=tuple(dict.fromkeys(test.verdict for test in report.paired)),
        num_clusters=num_clusters,
        warnings=report.warnings,
        notes=report.notes,
        report=paths[0],
        markdown=paths[1],
    )


def _report_name(split: str, systems: Sequence[System], options: EvaluateOptions) -> str:
    limit = f"-limit{options.limit}" if options.limit else ""  # keep the report of all utterances
    name = split
    if options.systems:
        name += f"-{'-vs-'.join(system.name for system in systems)}"
    content = name.encode()
    if len(content) > LONGEST or clean_name(name) != name:  # a digest keeps names apart
        begun = clean_name(content[:LONGEST].decode(errors="ignore"))
        name = f"{begun}-{blake2b(content, digest_size=4).hexdigest()}"
    return name + limit
