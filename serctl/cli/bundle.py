"""`serctl bundle make | check | show | push | space`."""

import json
import shlex
from typing import Annotated

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt, ProjectOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace, find_workspace
from serctl.options import BundleOptions, PushOptions, SpaceOptions

bundle = typer.Typer(
    no_args_is_help=True, help="Put a trained system into one folder, check it and share it."
)

BundleArg = Annotated[
    str, typer.Argument(metavar="DIR|hf:OWNER/NAME", help="Folder of the bundle, or its hub name.")
]


@bundle.command()
@with_options(BundleOptions, "bundle")
def make(workspace: Workspace, options: BundleOptions, as_json: JsonOpt = False) -> None:
    """Put networks, stacker, calibration, metrics and a model card into one folder."""
    from serctl.stages.bundle import make_bundle

    result = make_bundle(workspace, options, progress=console.progress)
    for note in result.notes:
        console.say(f"Note: {note}")
    text = f"Bundle '{result.name}': {result.files} files, {result.size / 1e6:,.1f} MB in "
    console.show(result, f"{text}{result.folder}\n  sha256 {result.digest}", as_json=as_json)
    console.hint(f"serctl predict AUDIO --model {shlex.quote(str(result.folder))}")


@bundle.command()
def check(name: BundleArg, project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """Check every file against its hash, and list encoders whose weights are not installed."""
    from serctl.stages.bundle import describe_bundle, find_missing_weights

    result = describe_bundle(name)
    for note in result.notes:
        console.say(note)
    workspace = find_workspace(project)
    missing = find_missing_weights(result.document, workspace.weights if workspace else {})
    text = f"'{name}' is intact: {result.files} files, {result.size / 1e6:,.1f} MB\n"
    console.show(
        {"digest": result.digest, "files": result.files, "missing_weights": missing},
        f"{text}  sha256 {result.digest}",
        as_json=as_json,
    )
    for encoder in missing:
        console.say(f"Weights of '{encoder}' not found on this machine. predict downloads them.")


@bundle.command()
def show(name: BundleArg, as_json: JsonOpt = False) -> None:
    """Print the model card, or bundle.json with --json."""
    from serctl.stages.bundle import describe_bundle, show_bundle

    if as_json:
        typer.echo(json.dumps(describe_bundle(name).document.to_dict(), indent=2))
    else:
        console.show_markdown(show_bundle(name))


@bundle.command()
@with_options(PushOptions, "push", needs_project=False)
def push(workspace: Workspace | None, options: PushOptions, as_json: JsonOpt = False) -> None:
    """Check a bundle and upload it to the Hugging Face hub in one commit."""
    from serctl.stages.push import push_bundle

    result = push_bundle(options, progress=console.progress)
    for note in result.notes:
        console.say(note)
    text = f"Pushed {result.files} files to {result.url}\n  commit {result.commit}"
    console.show(result, text, as_json=as_json)
    console.hint(f"serctl predict AUDIO --model {shlex.quote(result.model)}")


@bundle.command()
@with_options(SpaceOptions, "space", needs_project=False)
def space(workspace: Workspace | None, options: SpaceOptions, as_json: JsonOpt = False) -> None:
    """Write the folder of a Hugging Face Space that shows the page of `serctl serve`."""
    from serctl.web.space import write_space

    result = write_space(options)
    text = f"Space '{result.title}' in {result.folder}"
    console.show(result, text, as_json=as_json)
    console.hint(f"hf upload OWNER/NAME {shlex.quote(str(result.folder))} --repo-type space")
