"""`serctl transcribe`."""

from typing import TYPE_CHECKING

import typer

from serctl.cli import console
from serctl.cli.options import DaskOpt, JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.errors import count
from serctl.options import TranscribeOptions

if TYPE_CHECKING:
    from serctl.stages.transcribe import TranscribeResult


@with_options(TranscribeOptions, "transcribe")
def transcribe(
    workspace: Workspace,
    options: TranscribeOptions,
    dask: DaskOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Transcribe every utterance with Whisper, and flag doubtful transcripts."""
    from serctl.pipeline import RecipeStep
    from serctl.pipeline.execute import Execution, run_steps

    result = run_steps(
        workspace,
        [RecipeStep("transcribe", options.model, options)],
        Execution(scheduler=dask or "", log=console.say, progress=console.progress),
    )
    console.show(result, describe(result), as_json=as_json)
    if not as_json and not result.left:
        console.hint("serctl extract --encoder NAME   (speech or text; see: serctl encoders)")
    if result.failed:
        raise typer.Exit(3)


def describe(result: "TranscribeResult") -> str:
    """Return the outcome of a transcription, one fact a line."""
    part = f"{result.utterances:,} in part {result.shard}" if result.shard else ""
    part = part or console.name_part(result.utterances, result.whole)
    lines = [
        f"{result.source}: {result.transcribed:,} utterances transcribed, {result.present:,} "
        f"already present ({part})"
    ]
    if result.seconds:
        lines.append(
            f"  {result.audio_seconds:,.0f} s of audio in {result.seconds:,.1f} s: "
            f"{result.transcribed / result.seconds:,.1f} utterances/s"
        )
    if result.transcribed and result.utterances < result.whole and not result.shard:
        done = (result.transcribed, result.whole, result.seconds)
        lines.append(f"  {console.estimate_whole(*done)}")
    if result.suspect:
        reasons = ", ".join(f"{name} {number:,}" for name, number in result.suspects.items())
        sampled = count(result.retried, "text")
        lines.append(f"  {result.suspect:,} suspect ({reasons}); {sampled} kept from sampling")
    if result.windowed:
        lines.append(f"  {result.windowed:,} longer than 30 s, transcribed in several windows")
    if result.failed:
        lines.append(f"  {result.failed:,} could not be read; see {result.failures}")
    lines += [f"  {note}" for note in result.notes]
    if result.left:
        lines.append(
            f"  {result.left:,} remain for other parts. The last part writes {result.transcripts}"
        )
    places = (None if result.left else result.transcripts, result.store)
    lines += [f"  {path}" for path in places if path]
    return "\n".join(lines)
