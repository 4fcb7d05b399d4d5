"""`serctl report`: write an evaluation as an HTML page or as a table for a paper."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from serctl.config import Workspace
from serctl.data.outputs import check_output_file
from serctl.data.transcripts import read_transcripts
from serctl.documents.layers import FOLDER, read_comparisons
from serctl.documents.report import Report, UtteranceColumns
from serctl.documents.run import RunConfig, RunSummary, average_epochs, read_epochs
from serctl.documents.stacker import STACKER_FILE, StackerDocument
from serctl.errors import ReportError, SerctlError, UnknownNameError
from serctl.evaluation.layer_probe import find_old_comparisons
from serctl.evaluation.markdown import to_markdown
from serctl.evaluation.published import PublishedPair, describe_training, pair_published
from serctl.evaluation.table import make_records, to_csv, to_latex, to_markdown_published
from serctl.files import write_atomic
from serctl.options import ReportOptions
from serctl.page.packages import check_report_packages
from serctl.progress import Progress, silent
from serctl.training.evaluated import find_changes_since
from serctl.training.run_folder import CONFIG, METRICS, SUMMARY

if TYPE_CHECKING:
    from serctl.page.document import Importances, Page
    from serctl.page.figures import Curve

SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".csv": "csv", ".tex": "latex"}
SUFFIXES |= {".json": "json"}
ENDINGS = {"html": ".html", "md": ".md", "csv": ".csv", "latex": ".tex", "json": ".table.json"}


@dataclass(frozen=True)
class ReportResult:
    """The written file ``output`` in ``format``, from the evaluation ``source``."""

    source: Path
    output: Path
    format: str
    num_utterances: int
    num_systems: int
    notes: tuple[str, ...] = ()


def report(
    workspace: Workspace, options: ReportOptions, *, progress: Progress = silent
) -> ReportResult:
    """Write an evaluation as one HTML file, or its results table as Markdown, CSV, LaTeX or JSON.

    Raises:
        ReportError: There is no evaluation, it is of another version, ``output`` would overwrite
            it, or Plotly is missing.
        UnknownNameError: No evaluation has this name, or the suffix belongs to no format.
    """
    source = find_evaluation(workspace, options.name)
    document = Report.read(source)
    kind = options.format or choose_format(options.output)
    output = Path(options.output or source.with_suffix(ENDINGS[kind]))
    if output.resolve() == source.resolve():
        raise ReportError(f"'{output}' is the evaluation itself. Name another file: --output FILE")
    if output.suffix == ".json" and output.is_file() and _is_evaluation(output):
        raise ReportError(f"'{output}' is another evaluation. Name another file: --output FILE")
    check_output_file(workspace, output)
    configs = _read_configs(workspace, document)
    notes: Sequence[str] = find_changes_since(workspace, document, configs)
    published = pair_published(document, configs)
    if kind == "html":
        check_report_packages()
        from serctl.page.document import render_page

        with progress.task("drawing the page", 1) as advance:
            page = lay_out_page(workspace, source, document, output, configs, published, notes)
            text, notes = render_page(page), page.notes
            advance()
    else:
        text = write_table(kind, document, published)
    with write_atomic(output) as file:
        file.write(text)
    num_systems = len(document.systems)
    return ReportResult(source, output, kind, document.num_utterances, num_systems, (*notes,))


def find_evaluation(workspace: Workspace, name: str = "") -> Path:
    """Return the JSON file of an evaluation by name or path; the newest without a name.

    Raises:
        ReportError: There is no evaluation yet.
        UnknownNameError: There is no evaluation of that name.
    """
    found = sorted(workspace.reports.glob("*.json"), key=lambda path: path.stat().st_mtime)
    known = {path.stem: path for path in found if _is_evaluation(path)}
    if name and name not in known and Path(name).is_file():
        return Path(name)
    if not known:
        raise ReportError(f"No evaluation in '{workspace.reports}'. {Report.hint}")
    if name and name not in known:
        raise UnknownNameError("evaluation", name, known, "Make one with: serctl evaluate")
    return known[name] if name else list(known.values())[-1]


def _is_evaluation(path: Path) -> bool:
    """Whether a JSON file is an evaluation. Tables for papers may be in the same folder."""
    with path.open("rb") as file:
        return b'"serctl_report"' in file.read(64)


def choose_format(output: str) -> str:
    """Return the format of a file's suffix; ``html`` without a file.

    Raises:
        UnknownNameError: The suffix belongs to no format.
    """
    suffix = Path(output).suffix.lower()
    if output and suffix not in SUFFIXES:
        raise UnknownNameError("suffix", suffix, SUFFIXES, "Or name the format: --format html")
    return SUFFIXES.get(suffix, "html")


def write_table(kind: str, document: Report, published: list[PublishedPair]) -> str:
    """Return the results table as Markdown, CSV, LaTeX or JSON."""
    if kind == "md":
        return to_markdown(document) + to_markdown_published(published)
    records = make_records(document, published)
    if kind == "csv":
        return to_csv(records)
    if kind == "latex":
        return to_latex(document.title, records)
    names = ("title", "split", "labels", "warnings", "notes")
    kept = {name: getattr(document, name) for name in names}
    return json.dumps(kept | {"table": records}, indent=2, ensure_ascii=False) + "\n"


def lay_out_page(
    workspace: Workspace,
    source: Path,
    document: Report,
    output: Path,
    configs: Mapping[str, RunConfig],
    published: list[PublishedPair],
    notes: Sequence[str],
) -> "Page":
    """Collect the page's content from the evaluation, runs, stackers and transcripts."""
    from serctl.page.document import Page

    rows = document.utterances
    words, words_from = _find_words(workspace, rows)
    folder = output.parent.resolve()
    missing = sum(not Path(path).is_file() for path in rows.path)
    if missing:
        notes = [*notes, f"{missing} of {len(rows.path)} audio files no longer exist."]
    layers = read_comparisons(workspace.reports / FOLDER, _list_encoders(configs))
    notes = [*notes, *find_old_comparisons(workspace, layers)]
    return Page(
        name=source.stem,
        report=document,
        audio=[
            link_to(Path(path), folder) + _name_stretch(rows, i) for i, path in enumerate(rows.path)
        ],
        words=words,
        words_from=words_from,
        curves=list(_read_curves(workspace, configs)),
        importances=list(_read_importances(workspace, document)),
        layers=layers,
        layer_weights=_read_layer_weights(workspace, configs),
        published=published,
        notes=notes,
    )


def _name_stretch(rows: UtteranceColumns, i: int) -> str:
    """Return the media fragment of an utterance that is a part of a file."""
    if not rows.stretch:
        return ""
    start, end = rows.stretch[i]
    return f"#t={start:.3f}" + ("" if end is None else f",{end:.3f}")


def _list_encoders(configs: Mapping[str, RunConfig]) -> set[str]:
    return {branch.key.encoder for config in configs.values() for branch in config.branches}


def _read_layer_weights(
    workspace: Workspace, configs: Mapping[str, RunConfig]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the learned layer weights of runs with layer sums."""
    paths = {name: workspace.runs / name / SUMMARY for name in configs}
    found = {
        name: RunSummary.read(path).layer_weights for name, path in paths.items() if path.is_file()
    }
    return {name: weights for name, weights in found.items() if weights}


def link_to(path: Path, folder: Path) -> str:
    """Return a link from a page to a file: relative, or absolute on another drive.

    Args:
        path: The file.
        folder: Folder of the page, resolved.

    Example:
        >>> link_to(Path("/corpus/a b#1.wav"), Path("/project/reports"))
        '../../corpus/a%20b%231.wav'
    """
    try:
        relative = Path(os.path.relpath(path.resolve(), folder))
    except ValueError:
        return path.resolve().as_uri()
    link = f"./{relative.as_posix()}" if ":" in relative.parts[0] else relative.as_posix()
    return quote(os.fsencode(link))  # bytes, because file names may not be UTF-8


def _read_configs(workspace: Workspace, document: Report) -> dict[str, RunConfig]:
    """Return ``config.json`` of every run in the report and of the stackers' base models."""
    names: dict[str, None] = {}
    for system in document.systems:
        own = [system.name] if system.kind == "run" else []
        names |= dict.fromkeys([*own, *system.facts.base_models])
    paths = {name: workspace.runs / name / CONFIG for name in names}
    return {name: RunConfig.read(path) for name, path in paths.items() if path.is_file()}


def _find_words(workspace: Workspace, rows: UtteranceColumns) -> tuple[list[str], str]:
    """Return the transcripts of the corpus, else those of the recogniser, and their source."""
    given = rows.transcript
    if None not in given:
        return [text or "" for text in given], "Transcripts are from the corpus."
    try:
        recognised = read_transcripts(workspace.transcripts)
    except SerctlError:
        return [text or "" for text in given], ""
    words = [
        recognised.texts.get(name, "") if text is None else text
        for name, text in zip(rows.utterance_id, given, strict=True)
    ]
    return words, f"Transcripts are from {recognised.source}."


def _read_curves(workspace: Workspace, configs: Mapping[str, RunConfig]) -> Iterable["Curve"]:
    """Yield the training curves of the evaluated runs and of unfinished runs.

    A finished run of fold models has their mean. An unfinished one has a curve for each fold.
    """
    from serctl.page.figures import Curve

    for name in dict.fromkeys([*configs, *_find_unfinished(workspace)]):
        folder = workspace.runs / name
        folds = {
            f"{name}, fold {int(path.parent.name) + 1}": path.parent
            for path in sorted(folder.glob("folds/*/metrics.jsonl"))
        }
        if (folder / SUMMARY).is_file():
            records, title = read_epochs(folder / METRICS), name
            if not records and folds:
                records = average_epochs([read_epochs(fold / METRICS) for fold in folds.values()])
                title = f"{name} (mean of {len(folds)} folds)"
            if records:
                found = describe_training(configs[name])
                best = RunSummary.read(folder / SUMMARY).best_epoch
                yield Curve(title, found.encoders, found.loss, best, records)
            continue
        for title, place in ({name: folder} | folds).items():
            if (records := read_epochs(place / METRICS)) and (place / CONFIG).is_file():
                found = describe_training(RunConfig.read(place / CONFIG))
                title += "" if (place / SUMMARY).is_file() else " (not finished)"
                yield Curve(title, found.encoders, found.loss, records[-1].epoch, records)


def _find_unfinished(workspace: Workspace) -> list[str]:
    """Return the runs without a summary, which are in training or were interrupted."""
    folders = sorted(path for path in workspace.runs.glob("[!.]*") if path.is_dir())
    return [folder.name for folder in folders if not (folder / SUMMARY).is_file()]


def _read_importances(workspace: Workspace, document: Report) -> Iterable["Importances"]:
    from serctl.page.document import Importances

    for system in document.systems:
        folder = workspace.stackers / system.name
        if system.kind != "stacker" or not (folder / STACKER_FILE).is_file():
            continue
        found = StackerDocument.read(folder / STACKER_FILE)
        if found.importances:
            yield Importances(
                system.name, found.kind, found.models, found.labels, found.importances
            )
