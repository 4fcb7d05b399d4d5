"""`serctl extract`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, DeviceOpt, JsonOpt, LimitOpt, ProjectOpt
from serctl.config import open_workspace, resolve_options
from serctl.errors import UsageError
from serctl.options import ExtractOptions

if TYPE_CHECKING:
    from serctl.stages.extract import ExtractResult


def extract(
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="Name, Hugging Face id or path; may be repeated. See: serctl encoders."),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(help="N for hidden_states[N], -1 for last_hidden_state.", show_default="-1"),
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
        typer.Option(
            help="float16, float32, float16-zstd, float16-stride2 or int8.", show_default="float16"
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(help="Whisper: seconds of a window; fewer cost less.", show_default="30"),
    ] = None,
    batch_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Padded seconds in a batch.", show_default="2 on a CPU, else 60"),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="i/n: only this part; n processes share the work.", metavar="I/N"),
    ] = None,
    device: DeviceOpt = None,
    skip_bad: Annotated[
        bool | None,
        typer.Option("--skip-bad", help="List what cannot be read, go on."),
    ] = None,
    limit: LimitOpt = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Encode every utterance once and keep its frames in the feature cache."""
    workspace = open_workspace(project)
    if weights and len(encoder or ()) > 1:
        raise UsageError("--weights is for one encoder; give one --encoder at a time.")
    given = [
        resolve_options(
            ExtractOptions,
            "extract",
            workspace,
            config,
            encoder=name,
            layer=layer,
            weights=weights,
            dtype=dtype,
            storage=storage,
            window=window,
            batch_seconds=batch_seconds,
            shard=shard,
            device=device,
            skip_bad=skip_bad,
            limit=limit,
        )
        for name in (encoder or (None,))
    ]

    from serctl.stages import extract as stage

    results = [stage.extract(workspace, options, progress=console.progress) for options in given]
    document = results[0] if len(results) == 1 else [asdict(result) for result in results]
    console.show(document, "\n".join(map(describe, results)), as_json=as_json)
    if not as_json:
        branches = " ".join(f"--{result.modality} {result.encoder}" for result in results)
        console.hint(f"serctl train {branches}")
    if any(result.failed for result in results):
        raise typer.Exit(3)


def describe(result: "ExtractResult") -> str:
    """Return what an extraction did, a line each for what there is to say."""
    part = f"{result.utterances:,} in part {result.shard}" if result.shard else ""
    part = part or console.name_part(result.utterances, result.whole)
    lines = [
        f"{result.encoder}: {result.encoded:,} utterances encoded, {result.present:,} were there "
        f"({part})"
    ]
    if result.encoded:
        rate = f"{result.frames / result.seconds:,.0f} frames/s"
        if result.audio_seconds:
            rate += f", {result.audio_seconds / result.seconds:,.1f} s of audio a second"
        lines.append(f"  {result.frames:,} frames in {result.seconds:,.1f} s: {rate}")
    if result.windowed:
        lines.append(f"  {result.windowed:,} too long for one window; windows were joined")
    if result.failed:
        lines.append(f"  {result.failed:,} could not be read; see {result.failures}")
    lines += [f"  {note}" for note in result.notes]
    return "\n".join([*lines, *(f"  {store}" for store in result.stores)])
