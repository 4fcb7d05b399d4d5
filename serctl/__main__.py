"""``python -m serctl``."""

from serctl.cli import app

app(prog_name="serctl")
