"""`serctl manifest check | stats | split | merge`."""

from os.path import relpath
from pathlib import Path
from typing import Annotated

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt, ProjectOpt
from serctl.config import find_workspace, open_workspace
from serctl.errors import count
from serctl.options.option import LARGEST_SEED

manifest = typer.Typer(no_args_is_help=True, help="Check, describe, split and merge manifests.")

SHOWN = 20
"""Problems listed on a terminal."""

ManifestArg = Annotated[
    Path | None,
    typer.Argument(metavar="MANIFEST", help="CSV file.", show_default="the project's manifest"),
]
OutputOpt = Annotated[Path, typer.Option("--output", "-o", help="The manifest to write.")]
OverwriteOpt = Annotated[bool, typer.Option("--overwrite", help="Replace the output.")]


@manifest.command()
def check(path: ManifestArg = None, project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """Decode all audio; find unusable files and audio in two splits. Exit 1 if there is any."""
    from serctl.data.manifest_file import read_manifest
    from serctl.stages.manifest import check_audio

    result = check_audio(read_manifest(_find(path, project)), progress=console.progress)
    lines = [f"{item.utterance_id} ({item.split}): {item.problem}" for item in result.problems]
    lines += [f"{', '.join(names)}: the same audio in several splits" for names in result.leaks]
    lines += [
        f"{', '.join(names)}: overlapping parts of one recording in several splits"
        for names in result.overlaps
    ]
    lines += [f"{', '.join(names)}: the same audio" for names in result.duplicates]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"{len(lines) - SHOWN} more: --json lists all."]
    lines += result.notes
    leaks, copies = len(result.leaks), len(result.duplicates)
    found = [f"{len(result.problems)} unusable"] if result.problems else []
    found += [f"{count(leaks, 'group')} of equal audio in several splits"] if leaks else []
    overlaps = len(result.overlaps)
    found += [f"{count(overlaps, 'pair')} of overlapping parts in several splits"] * bool(overlaps)
    found += [f"{count(copies, 'group')} of equal audio in one split"] if copies else []
    told = ", ".join(found) or "no problem found"
    lines.append(f"{count(result.num_utterances, 'utterance')}: {told}.")
    console.show(result, "\n".join(lines), as_json=as_json)
    if not result.usable:
        raise typer.Exit(1)


@manifest.command()
def stats(path: ManifestArg = None, project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """Count emotions, speakers and hours of each split, and speakers in several splits."""
    from serctl.data.manifest_file import read_manifest
    from serctl.stages.manifest import describe_manifest

    result = describe_manifest(read_manifest(_find(path, project)), progress=console.progress)
    splits = result.splits.values()
    rows = balance_rows({name: split.emotions for name, split in result.splits.items()})
    rows += [
        ["speakers", *(str(split.speakers) for split in splits)],
        ["without speaker", *(str(split.without_speaker) for split in splits)],
        ["with votes", *(str(split.with_votes) for split in splits)],
        ["hours", *(f"{split.hours:.2f}" for split in splits)],
        ["median seconds", *(f"{split.median_seconds:.1f}" for split in splits)],
        ["longest seconds", *(f"{split.longest_seconds:.1f}" for split in splits)],
    ]
    if any(split.unmeasured for split in splits):
        rows.append(["unreadable audio", *(str(split.unmeasured) for split in splits)])
    console.show(result, console.table("", ["", *result.splits], rows), as_json=as_json)
    if result.leaking_speakers:
        console.say(f"Warning: {len(result.leaking_speakers)} speakers are in several splits.")
    if result.leaking_transcripts:
        console.say(f"Note: {result.leaking_transcripts} transcripts are in several splits.")


@manifest.command()
def split(
    output: OutputOpt,
    path: ManifestArg = None,
    project: ProjectOpt = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the splits.")] = 0,
    test_fold: Annotated[
        list[str] | None,
        typer.Option(
            help="Use this fold of the manifest as test and the rest as train. May be repeated."
        ),
    ] = None,
    dev_fold: Annotated[
        list[str] | None, typer.Option(help="Use this fold as dev. May be repeated.")
    ] = None,
    all_train: Annotated[
        bool, typer.Option("--all-train", help="Put everything into train, for fold models.")
    ] = False,
    overwrite: OverwriteOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Make speaker-disjoint, class-stratified splits, about 3:1:1 train, dev and test."""
    from serctl.stages.manifest import split_manifest

    made = split_manifest(
        _find(path, project),
        output,
        seed=seed,
        test_folds=test_fold or (),
        dev_folds=dev_fold or (),
        all_train=all_train,
        overwrite=overwrite,
    )
    for note in made.notes:
        console.say(f"Note: {note}")
    _show_counts(made.counts(), output, as_json)
    workspace = find_workspace(project)
    if workspace and output.resolve() != workspace.manifest.resolve():
        name = relpath(output, workspace.root)
        console.say(f'To use it, set manifest = "{name}" under [paths] in serctl.toml.')


@manifest.command()
def merge(
    paths: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST", help="CSV files, two or more.")
    ],
    output: OutputOpt,
    prefix: Annotated[
        list[str] | None, typer.Option(help="Prefix of ids and speakers, one for each manifest.")
    ] = None,
    overwrite: OverwriteOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Merge manifests of several corpora."""
    from serctl.stages.manifest import merge_manifests

    made = merge_manifests(paths, output, prefixes=prefix or [], overwrite=overwrite)
    for note in made.notes:
        console.say(f"Note: {note}")
    _show_counts(made.counts(), output, as_json)


def balance_rows(counts: dict[str, dict[str, int]]) -> list[list[str]]:
    """Return a row per emotion that occurs, with its count in each split, and one of sums."""
    names = dict.fromkeys(name for found in counts.values() for name, n in found.items() if n)
    rows = [
        [name or "(unlabelled)", *(str(found.get(name, 0)) for found in counts.values())]
        for name in sorted(names, key=lambda name: not name)
    ]
    return [*rows, ["all", *(str(sum(found.values())) for found in counts.values())]]


def _show_counts(counts: dict[str, dict[str, int]], output: Path, as_json: bool) -> None:
    table = console.table("", ["emotion", *counts], balance_rows(counts))
    console.show(counts, table, as_json=as_json)
    console.say(f"Wrote {output}.")


def _find(path: Path | None, project: Path | None) -> Path:
    return path or open_workspace(project).manifest
