"""`serctl serve`."""

from serctl.cli import console
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.options import ServeOptions


@with_options(ServeOptions, "serve", needs_project=False)
def serve(workspace: Workspace | None, options: ServeOptions) -> None:
    """Serve a model through a web page and an HTTP API."""
    from serctl.web.server import serve as run

    run(workspace, options, log=console.say)
