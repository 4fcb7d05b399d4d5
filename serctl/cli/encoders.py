"""`serctl encoders`."""

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
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in table]
    console.show(rows, "\n".join(lines), as_json=as_json)
    console.say(
        "Any Hugging Face id or local folder of a wav2vec2-like, Whisper or text model works as "
        "well. The default layer is last_hidden_state; `serctl extract --layer N` takes "
        "hidden_states[N]."
    )
