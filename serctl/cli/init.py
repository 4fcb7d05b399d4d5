"""`serctl init`."""

import shlex
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.hints import choose_recipe
from serctl.cli.manifest import balance_rows
from serctl.cli.options import JsonOpt
from serctl.errors import UsageError, refuse_twice
from serctl.options.option import LARGEST_SEED

if TYPE_CHECKING:
    from serctl.stages.init import InitResult, Source


SeedOpt = Annotated[
    int,
    typer.Option(
        min=0, max=LARGEST_SEED, help="Seed of generated splits, --limit and the demo corpus."
    ),
]
OverwriteOpt = Annotated[
    bool, typer.Option("--overwrite", help="Replace serctl.toml and manifest.csv.")
]
FolderOpt = Annotated[Path, typer.Option("--project", "-C", help="Folder of the project.")]


def init(
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            help="Corpus: demo, emodb, ravdess, crema-d, iemocap, iemocap-5, meld, msp-podcast, "
            "audformat, textgrid or audiofolder. May be repeated."
        ),
    ] = None,
    root: Annotated[
        list[Path] | None, typer.Option(help="Folder of the corpus; one for each --corpus.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="A table with a header (CSV, TSV, Excel), instead of a corpus."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column of that table: utterance_id=FileName; emotion= for none."),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Split of that table: eval=test. May be repeated.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option("--map", help="Rename an emotion: calm=neutral. May be repeated."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Leave out the utterances of an emotion. May be repeated."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use only N utterances, balanced over splits and emotions."),
    ] = None,
    seed: SeedOpt = 0,
    overwrite: OverwriteOpt = False,
    project: FolderOpt = Path(),
    as_json: JsonOpt = False,
) -> None:
    """Create a project: write serctl.toml and manifest.csv from a corpus or a table."""
    from serctl.data.labels import parse_mapping
    from serctl.stages.init import init_project

    result = init_project(
        project,
        _list_sources(corpus or [], root or [], manifest, column or [], split or []),
        mapping=parse_mapping(rename or []),
        drop=drop or [],
        limit=limit,
        seed=seed,
        overwrite=overwrite,
        progress=console.progress,
    )
    _show(result, as_json=as_json)
    _hint_next(result, project, is_demo=corpus == ["demo"])


def _list_sources(
    corpora: list[str],
    roots: list[Path],
    manifest: Path | None,
    columns: list[str],
    splits: list[str],
) -> "list[Source]":
    """Return the corpora, or the table, that a project is made from.

    Raises:
        UsageError: There is neither or both, or corpora and folders do not match.
    """
    from serctl.data.labels import parse_mapping
    from serctl.stages.init import Source

    if corpora and manifest:
        raise UsageError("--corpus and --manifest are both given, expected one of them.")
    if not corpora and not manifest:
        raise UsageError(
            "No corpus given. Name one (--corpus emodb --root DIR), or a table (--manifest CSV), "
            "or make synthetic speech: serctl init --corpus demo"
        )
    named, renamed = _columns(columns), parse_mapping(splits, "--split")
    if manifest:
        return [Source(table=manifest, root=_only(roots), columns=named, splits=renamed)]
    if len(roots) != len(corpora) and (roots or corpora != ["demo"]):
        given = f"with {len(roots)} --root" if roots else "without --root"
        raise UsageError(
            f"--corpus {', '.join(corpora)} {given}, expected the folder of each corpus: "
            f"serctl init {' '.join(f'--corpus {name} --root DIR' for name in corpora)}"
        )
    return [  # columns and splits of a corpus are refused, as in Python
        Source(name, folder, columns=named, splits=renamed)
        for name, folder in zip_longest(corpora, roots)
    ]


def _show(result: "InitResult", *, as_json: bool) -> None:
    """Print notes, the number of utterances by emotion and split, and the files."""
    for note in result.notes:
        console.say(f"Note: {note.rstrip('.')}.")
    table = console.table("", ["emotion", *result.counts], balance_rows(result.counts))
    console.show(result, table, as_json=as_json)
    console.say(f"Wrote {result.manifest} and {result.project}.")


def _hint_next(result: "InitResult", project: Path, is_demo: bool) -> None:
    """Print the next command."""
    inside = "" if project == Path() else f"cd {shlex.quote(str(project))} && "
    if "train" not in result.counts:
        split = "serctl manifest split -o manifest.csv --overwrite"
        console.hint(f"{inside}serctl predict manifest.csv --model MODEL   (to train: {split})")
        return
    recipe = "demo" if is_demo else choose_recipe(sum(result.counts["train"].values()))
    if result.has_transcripts and recipe != "demo":
        console.hint(f"{inside}serctl transcribe --from-manifest && serctl run {recipe}")
    else:
        console.hint(f"{inside}serctl run {recipe}   (or step by step: serctl transcribe)")


def _only(roots: list[Path]) -> Path | None:
    if len(roots) > 1:
        raise UsageError(f"{len(roots)} --root, expected one: the folder of the table's paths.")
    return roots[0] if roots else None


def _columns(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        ours, equals, _ = pair.partition("=")
        if not (ours and equals):
            raise UsageError(f"--column is '{pair}', expected OURS=YOURS, such as path=file.")
    refuse_twice("--column", (pair.partition("=")[0] for pair in pairs))
    return dict(pair.split("=", 1) for pair in pairs)
