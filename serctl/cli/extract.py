"""`serctl extract`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from serctl.cli import console
from serctl.cli.hints import hint_train
from serctl.cli.options import DaskOpt, JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.errors import UsageError, count
from serctl.options import ExtractOptions

if TYPE_CHECKING:
    from serctl.stages.extract import ExtractResult


@with_options(ExtractOptions, "extract", each="encoder")
def extract(
    workspace: Workspace,
    options: list[ExtractOptions],
    dask: DaskOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Encode every utterance once and keep its frames in the feature cache."""
    if len(options) > 1 and options[0].weights:
        raise UsageError("--weights is for one encoder; give one --encoder at a time.")

    from serctl.pipeline import RecipeStep
    from serctl.pipeline.execute import Execution, run_steps

    results: list[Any] = []
    run_steps(
        workspace,
        [RecipeStep("extract", one.encoder, one) for one in options],
        Execution(
            scheduler=dask or "",
            report=lambda step, result: results.append(result),
            log=console.say,
            progress=console.progress,
        ),
    )
    document = results[0] if len(results) == 1 else [asdict(result) for result in results]
    console.show(document, "\n".join(map(describe, results)), as_json=as_json)
    if not as_json:
        branches = [f"--{result.modality} {name_branch(result)}" for result in results]
        console.hint(hint_train(workspace, branches))
    if any(result.failed for result in results):
        raise typer.Exit(3)


def name_branch(result: "ExtractResult") -> str:
    """Return the name of the frames for `serctl train`; several layers are one branch."""
    layers = f"@{'+'.join(map(str, result.layers))}" if len(result.layers) > 1 else ""
    return f"{result.encoder}{layers}"


def describe(result: "ExtractResult") -> str:
    """Return the outcome of an extraction, one fact a line."""
    part = f"{result.utterances:,} in part {result.shard}" if result.shard else ""
    part = part or console.name_part(result.utterances, result.whole)
    parts = [f"{result.present:,} already cached"] if result.present or not result.encoded else []
    if result.encoded:
        rate = f"{result.encoded / result.seconds:,.1f} utterances/s"
        if result.audio_seconds:
            rate += f", {result.audio_seconds / result.seconds:,.1f} s of audio per second"
        encoded = f"{count(result.encoded, 'utterance')} encoded in {result.seconds:,.1f} s, {rate}"
        parts.insert(0, encoded)
    lines = [f"{result.encoder}: {', '.join(parts)} ({part})"]
    if result.encoded and result.utterances < result.whole and not result.shard:
        done = (result.encoded, result.whole, result.seconds, result.bytes)
        lines.append(f"  {console.estimate_whole(*done)}")
    if result.windowed:
        lines.append(f"  {result.windowed:,} longer than one window, encoded in several")
    if result.failed:
        lines.append(f"  {result.failed:,} could not be read; see {result.failures}")
    lines += [f"  {note}" for note in result.notes]
    return "\n".join([*lines, *(f"  {store}" for store in result.stores)])
