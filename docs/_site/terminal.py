"""Draw what `serctl evaluate` prints in the project of the EmoDB tutorial: images/evaluate.svg.

Call it after the commands of the tutorial: ``python docs/_site/terminal.py emodb-project``.
"""

import io
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from typer.testing import CliRunner

from serctl.cli import app, console

PICTURE = Path(__file__).parents[1] / "images" / "evaluate.svg"
FONTS = "DejaVu Sans Mono, Menlo, Consolas, monospace"
"""Of the reader's machine: Rich's own would be fetched from another host."""


def main(project: str) -> None:
    """Run the command with one recording console for stdout and stderr; write the picture."""
    screen = Console(record=True, width=100, file=io.StringIO(), highlight=False)
    console.out = console.err = screen
    screen.print("$ serctl evaluate")
    result = CliRunner().invoke(app, ["evaluate", "-C", project], catch_exceptions=False)
    if result.exit_code:
        sys.exit(result.output)
    layout = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    layout = re.sub(r"font-family: Fira Code[^;]*;", f"font-family: {FONTS};", layout)
    title = f"EmoDB, {datetime.now(UTC):%Y-%m-%d}"
    PICTURE.write_text(screen.export_svg(title=title, code_format=layout), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
