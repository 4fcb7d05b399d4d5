"""`serctl extract`."""

from typing import Annotated

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, DeviceOpt, JsonOpt, LimitOpt, ProjectOpt
from serctl.config import open_workspace, resolve_options
from serctl.options import ExtractOptions


def extract(
    encoder: Annotated[str | None, typer.Option(help="Encoder name, Hugging Face id or path.")] = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
    device: DeviceOpt = None,
    limit: LimitOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Encode every utterance once and keep its frames in the feature cache."""
