"""`serctl transcribe`."""

from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, DeviceOpt, JsonOpt, LimitOpt, ProjectOpt, SeedOpt
from serctl.config import open_workspace, resolve_options
from serctl.options import TranscribeOptions

if TYPE_CHECKING:
    from serctl.stages.transcribe import TranscribeResult


def transcribe(
    model: Annotated[
        str | None,
        typer.Option(
            help="A Whisper: name, Hugging Face id or path.", show_default="whisper-large-v3"
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="auto, transformers or faster-whisper.", show_default="auto"),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help="Code of the language, or auto to detect it.", show_default="en"),
    ] = None,
    from_manifest: Annotated[
        bool | None,
        typer.Option("--from-manifest", help="Take the manifest's own words, run no model."),
    ] = None,
    keep_frames: Annotated[
        bool | None,
        typer.Option("--keep-frames", help="Keep the encoder's frames in the cache as well."),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Of the kept frames, as for extract.", show_default="-1")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Checkpoint folder or Hugging Face id to use instead.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16.", show_default="float32"),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Of the kept frames, as for extract.", show_default="float16"),
    ] = None,
    batch_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds in a batch, 30 s windows.", show_default="240"),
    ] = None,
    device: DeviceOpt = None,
    seed: SeedOpt = None,
    skip_bad: Annotated[
        bool | None,
        typer.Option("--skip-bad", help="List what cannot be read, go on."),
    ] = None,
    limit: LimitOpt = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Find the words of every utterance with Whisper, doubtful ones flagged."""
    workspace = open_workspace(project)
    options = resolve_options(
        TranscribeOptions,
        "transcribe",
        workspace,
        config,
        model=model,
        backend=backend,
        language=language,
        from_manifest=from_manifest,
        keep_frames=keep_frames,
        layer=layer,
        weights=weights,
        dtype=dtype,
        storage=storage,
        batch_seconds=batch_seconds,
        device=device,
        seed=seed,
        skip_bad=skip_bad,
        limit=limit,
    )

    from serctl.stages import transcribe as stage

    result = stage.transcribe(workspace, options, progress=console.progress)
    console.show(result, describe(result), as_json=as_json)
    if not as_json:
        console.hint("serctl extract --encoder NAME   (speech or text; see: serctl encoders)")
    if result.failed:
        raise typer.Exit(3)


def describe(result: "TranscribeResult") -> str:
    """Return what a transcription did, a line each for what there is to say."""
    lines = [
        f"{result.source}: {result.transcribed:,} utterances transcribed, {result.present:,} were "
        f"there ({console.name_part(result.utterances, result.whole)})"
    ]
    if result.seconds:
        lines.append(
            f"  {result.audio_seconds:,.0f} s of audio in {result.seconds:,.1f} s: "
            f"{result.transcribed / result.seconds:,.1f} utterances/s"
        )
    if result.suspect:
        reasons = ", ".join(f"{name} {count:,}" for name, count in result.suspects.items())
        lines.append(f"  {result.suspect:,} suspect ({reasons}); {result.retried:,} drawn again")
    if result.windowed:
        lines.append(f"  {result.windowed:,} longer than 30 s; windows were joined")
    if result.failed:
        lines.append(f"  {result.failed:,} could not be read; see {result.failures}")
    lines += [f"  {note}" for note in result.notes]
    lines += [f"  {path}" for path in (result.transcripts, result.store) if path]
    return "\n".join(lines)
