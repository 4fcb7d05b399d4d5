"""`serctl bundle make | check | show | push`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt, ProjectOpt
from serctl.config import find_workspace, open_workspace, resolve_options
from serctl.options import BundleOptions, PushOptions

bundle = typer.Typer(no_args_is_help=True, help="Carry a trained system elsewhere, in one folder.")

FolderArg = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the bundle.")]


@bundle.command()
def make(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of the bundle; also of the stacker or run, if none is given."),
    ] = None,
    stacker: Annotated[
        str | None, typer.Option(help="A stacker of the project, with its networks.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="A run of the project: one network.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Folder to write.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Corpus it was trained on, 'NAME: TERMS'; default: what init noted."),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(help="Licence of the weights, such as cc-by-nc-4.0.", show_default="other"),
    ] = None,
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Replace the bundle.")
    ] = None,
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Put networks, stacker, calibration, metrics and a model card into one folder."""
    workspace = open_workspace(project)
    options = resolve_options(
        BundleOptions,
        "bundle",
        workspace,
        name=name,
        stacker=stacker,
        run=run,
        output=output,
        data=tuple(data) if data else None,
        license=license,
        overwrite=overwrite,
    )
    from serctl.stages.bundle import make_bundle

    result = make_bundle(workspace, options, progress=console.progress)
    for note in result.notes:
        console.say(f"Note: {note}")
    text = f"Bundle '{result.name}': {result.files} files, {result.size / 1e6:,.1f} MB in "
    console.show(result, f"{text}{result.folder}\n  sha256 {result.digest}", as_json=as_json)
    console.hint(f"serctl predict AUDIO --model {result.folder}")


@bundle.command()
def check(folder: FolderArg, project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """Compare every file with its hash, refuse what should not be there, look for the weights."""
    from serctl.stages.bundle import describe_bundle, find_missing_weights

    result = describe_bundle(folder)
    workspace = find_workspace(project)
    missing = find_missing_weights(result.document, workspace.weights if workspace else {})
    text = f"'{folder}' is whole: {result.files} files, {result.size / 1e6:,.1f} MB\n"
    console.show(
        {"digest": result.digest, "files": result.files, "missing_weights": missing},
        f"{text}  sha256 {result.digest}",
        as_json=as_json,
    )
    for name in missing:
        console.say(
            f"The weights of '{name}' are not on this machine; predict will ask the hub for them."
        )


@bundle.command()
def show(folder: FolderArg, as_json: JsonOpt = False) -> None:
    """Print the model card; with --json all of bundle.json."""
    from serctl.system.bundle_folder import open_bundle
    from serctl.system.card import write_card

    document = open_bundle(folder).document
    text = json.dumps(document.to_dict(), indent=2) if as_json else write_card(document)
    typer.echo(text.rstrip())


@bundle.command()
def push(
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Place on the hub.")],
    folder: Annotated[
        str | None, typer.Argument(metavar="DIR", help="Folder of the bundle (default: bundle).")
    ] = None,
    private: Annotated[
        bool | None, typer.Option("--private", help="Only you see a repository made by this.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, made if it is not there.", show_default="main")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Check a bundle and upload it to the Hugging Face hub in one commit."""
    options = resolve_options(
        PushOptions,
        "push",
        None,
        repository=repository,
        folder=folder,
        private=private,
        revision=revision,
    )
    from serctl.stages.push import push_bundle

    result = push_bundle(options, progress=console.progress)
    for note in result.notes:
        console.say(note)
    text = f"Pushed {result.files} files to {result.url}\n  commit {result.commit}"
    console.show(result, text, as_json=as_json)
    console.hint(f"serctl predict AUDIO --model {result.model}")
